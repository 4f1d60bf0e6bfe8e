package scim

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"net/http"
	"net/url"
	"slices"
	"strconv"

	"github.com/openkoo/connector/target"
	"github.com/openkoo/connector/target/httpclient"
)

const (
	// listUsers and listGroups are how many objects a page of a list asks for.
	// Groups come with their members. A server may answer fewer.
	listUsers, listGroups = 500, 100
	// fewest is the smallest page: the last object of the one before, and one more.
	fewest = 2
	// listSteps bounds how often a page is looked for again, one page further
	// back each time, when objects before it were deleted meanwhile.
	listSteps = 3
)

var _ target.Lister = (*Connector)(nil)

// List implements target.Lister: one pass over /Users and one over /Groups,
// if there are any.
func (c *Connector) List(ctx context.Context, through target.Through) iter.Seq2[target.Found, error] {
	return func(yield func(target.Found, error) bool) {
		for _, l := range []*listing{
			{collection: c.users(), kind: target.MemberUser, count: cmp.Or(c.config.ListPage, listUsers), through: through},
			{collection: c.groups(), kind: target.MemberDepartment, count: cmp.Or(c.config.ListPage, listGroups), through: through},
		} {
			if l.kind == target.MemberDepartment && c.groupless() {
				return
			}
			if !l.all(ctx, yield) {
				return
			}
		}
	}
}

// listing goes through the pages of a collection. The protocol pages by index,
// so an object that goes meanwhile moves those behind it up by one, and one of
// them past the border of the page. Each page therefore begins with the last
// object of the one before: where that is not to be seen, the list has moved.
type listing struct {
	collection
	kind    target.MemberKind
	count   int // objects to ask for
	through target.Through

	previous map[string]struct{} // ids of the page before
	start    int                 // index of the page's first object, from 1
	seen     int                 // objects yielded
	back     bool                // the page is further back than the one before ended
	stalls   int                 // pages in a row that brought nothing new
}

// listPage is a page of a list, of whole resources.
type listPage struct {
	TotalResults *int             `json:"totalResults"`
	Resources    []map[string]any `json:"Resources"`
}

// all yields every object; false if that is to end the whole list.
func (l *listing) all(ctx context.Context, yield func(target.Found, error) bool) bool {
	l.start = 1
	for {
		page, fresh, err := l.next(ctx)
		if err != nil {
			yield(target.Found{}, err)
			return false
		}
		for _, r := range fresh {
			if !yield(l.found(r), nil) {
				return false
			}
		}
		l.seen += len(fresh)
		end := l.start + len(page.Resources) - 1
		last, err := l.last(ctx, page, len(fresh), end)
		if err != nil {
			yield(target.Found{}, err)
			return false
		}
		if last {
			return true
		}
		l.start = end
		l.previous = make(map[string]struct{}, len(page.Resources))
		for _, r := range page.Resources {
			l.previous[idOf(r)] = struct{}{}
		}
	}
}

// last reports whether a page was the last one. A full page is not believed to
// be: some servers count the objects of a page where they should count all.
func (l *listing) last(ctx context.Context, page listPage, fresh, end int) (bool, error) {
	if fresh > 0 {
		l.stalls = 0
	} else if l.stalls++; l.stalls > listSteps {
		return false, l.short(page)
	}
	switch {
	case page.TotalResults != nil && end < *page.TotalResults && len(page.Resources) == 0:
		return false, l.short(page)
	case page.TotalResults != nil && end < *page.TotalResults:
		return false, nil
	case page.TotalResults != nil && fresh > 0 && len(page.Resources) >= l.count:
		return false, nil
	case page.TotalResults != nil && l.seen < *page.TotalResults:
		return false, l.short(page)
	case page.TotalResults != nil:
		return true, nil
	case fresh > 0 || l.back:
		return false, nil
	}
	// Nothing new where nobody counts: all was seen, unless a page holds no more
	// than the object that it begins with.
	l.start = end + 1
	beyond, err := l.read(ctx)
	if err == nil && len(beyond.Resources) > 0 {
		err = l.short(page)
	}
	return true, err
}

func (l *listing) short(page listPage) error {
	if page.TotalResults == nil {
		return l.wrong(fmt.Sprintf("the list ended after %d objects, and more are there", l.seen))
	}
	return l.wrong(fmt.Sprintf("the list ended after %d of %d objects", l.seen, *page.TotalResults))
}

// next reads the page at start, or the one before it if the list has moved, and
// returns it with what is new in it.
func (l *listing) next(ctx context.Context) (page listPage, fresh []map[string]any, err error) {
	l.back = false
	for range listSteps {
		if page, err = l.read(ctx); err != nil {
			return page, nil, err
		}
		for _, r := range page.Resources {
			if idOf(r) == "" {
				return page, nil, l.wrong("an object in the list has no id")
			}
		}
		if l.previous == nil {
			return page, page.Resources, nil
		}
		for i, r := range slices.Backward(page.Resources) {
			if _, before := l.previous[idOf(r)]; before {
				return page, page.Resources[i+1:], nil
			}
		}
		if l.start == 1 && l.seen <= len(l.previous) {
			return page, page.Resources, nil // all that was seen is gone
		}
		if l.start == 1 {
			break
		}
		l.start, l.back = max(1, l.start-len(l.previous)), true
	}
	return page, nil, l.wrong("objects changed places while the list was read")
}

// read reads the page at start. One too large to be read is asked for in a
// smaller size.
func (l *listing) read(ctx context.Context) (page listPage, err error) {
	op := "list " + l.noun + "s"
	for {
		query := url.Values{"startIndex": {strconv.Itoa(l.start)}, "count": {strconv.Itoa(l.count)}}
		err = l.through(ctx, op, func(ctx context.Context) error {
			page = listPage{}
			return l.c.http.do(ctx, call{op: op, method: http.MethodGet, path: l.path + "?" + query.Encode(), into: &page})
		})
		if !errors.Is(err, httpclient.ErrTooLarge) || l.count == fewest {
			return page, err
		}
		l.count = max(fewest, l.count/4)
	}
}

// wrong is a list that cannot be trusted to be whole.
func (l *listing) wrong(detail string) error {
	return &target.Error{Class: target.Transient, Op: "list " + l.noun + "s", Detail: detail}
}

// idText is an id that was read; some servers write numbers.
func idText(value any) string {
	switch v := value.(type) {
	case string:
		return v
	case json.Number:
		return v.String()
	case float64:
		return strconv.FormatFloat(v, 'f', -1, 64)
	default:
		return ""
	}
}

func idOf(resource map[string]any) string {
	return idText(member(resource, "id"))
}

func (l *listing) found(resource map[string]any) target.Found {
	text := func(name string) string {
		value, _ := member(resource, name).(string)
		return value
	}
	f := target.Found{Kind: l.kind, RemoteID: idOf(resource), ExternalID: text("externalId"), Name: text("userName"), Content: resource}
	if l.kind != target.MemberDepartment {
		return f
	}
	f.Name = text("displayName")
	members, _ := member(resource, "members").([]any)
	f.Members = make([]target.Member, 0, len(members))
	for _, m := range members {
		one, _ := m.(map[string]any)
		// Kinds are told by few servers; ids are unique over both.
		if id := idText(member(one, "value")); id != "" {
			f.Members = append(f.Members, target.Member{RemoteID: id})
		}
	}
	delete(resource, "members") // they may be very many, and were read
	return f
}
