package scim

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/openkoo/connector/target"
)

const (
	// pageSize is how many objects a search asks for at once. One is what it
	// wants; more show that the server ignores the filter.
	pageSize = 100
	// maxPages bounds a search on a server that ignores the filter.
	maxPages = 50
)

// resource is what we read of any object.
type resource struct {
	ID          textID `json:"id"`
	ExternalID  string `json:"externalId"`
	UserName    string `json:"userName"`
	DisplayName string `json:"displayName"`
}

// name is what the object is called in the collection's naming attribute.
func (r resource) name(k collection) string {
	if k.unique {
		return r.UserName
	}
	return r.DisplayName
}

// textID is an id, which home-made servers write as a number.
type textID string

// UnmarshalJSON implements json.Unmarshaler.
func (id *textID) UnmarshalJSON(text []byte) error {
	if len(text) > 0 && (text[0] == '-' || text[0] >= '0' && text[0] <= '9') {
		*id = textID(text)
		return nil
	}
	return json.Unmarshal(text, (*string)(id))
}

type listResponse struct {
	TotalResults int        `json:"totalResults"`
	Resources    []resource `json:"Resources"`
}

// find looks an object up by our name for it; "" if there is none. Not every
// server filters by externalId: then the object is asked for by the name it
// should have (empty: not known), and at last among all there are.
func (k collection) find(ctx context.Context, externalID, name string) (string, error) {
	ours := func(r resource) bool { return r.ExternalID == externalID }
	refused := k.c.config.Protocol.Lookup == LookupName || k.c.service.noExternalID.Load()
	if !refused {
		id, err := k.search(ctx, "externalId eq "+quote(externalID), ours)
		if !refusesFilter(err) {
			return id, err
		}
	}
	if name != "" {
		id, err := k.search(ctx, k.naming+" eq "+quote(name), ours)
		if id != "" || err != nil && !refusesFilter(err) {
			return id, err
		}
	}
	id, err := k.search(ctx, "", ours)
	if err == nil && !refused {
		k.c.service.noExternalID.Store(true)
	}
	return id, err
}

// refusesFilter reports whether a server does not do the filter it was sent
// (RFC 7644 §3.12, invalidFilter; many say no more than 400).
func refusesFilter(err error) bool {
	status := statusOf(err)
	return status == http.StatusBadRequest || status == http.StatusNotImplemented
}

// errForeign means that somebody else's account has the name.
var errForeign = errors.New("another owner's externalId is on it")

// findNamed looks for the account of a user name: ours, or nobody's. Somebody
// else's is a conflict.
func (k collection) findNamed(ctx context.Context, userName, externalID string) (string, error) {
	foreign := false
	id, err := k.search(ctx, k.naming+" eq "+quote(userName), func(r resource) bool {
		if !strings.EqualFold(r.UserName, userName) {
			return false
		}
		mine := r.ExternalID == "" || r.ExternalID == externalID
		foreign = foreign || !mine
		return mine
	})
	if err == nil && id == "" && foreign {
		err = &target.Error{Class: target.Conflict, Op: "find " + k.noun, Detail: "the " + k.naming + " is taken", Err: errForeign}
	}
	return id, err
}

// search finds the one object that matches; "" if there is none. Two are a
// conflict. Without a filter, or where a server answers with others too because
// it ignores the filter, all pages are gone through, within bounds.
func (k collection) search(ctx context.Context, filter string, matches func(resource) bool) (string, error) {
	op, id := "find "+k.noun, ""
	start, last := 1, ""
	for range maxPages {
		list, err := k.page(ctx, op, filter, start)
		if err != nil {
			return "", err
		}
		if start > 1 && !slices.ContainsFunc(list.Resources, func(r resource) bool { return string(r.ID) == last }) {
			// Objects before it went: it is further up.
			start = max(1, start-pageSize)
			continue
		}
		strangers := filter == ""
		for _, r := range list.Resources {
			switch {
			case !matches(r):
				strangers = true
			case id != "" && id != string(r.ID):
				return "", &target.Error{Class: target.Conflict, Op: op, Detail: "two objects match " + filter + "; remove one"}
			default:
				id = string(r.ID)
			}
		}
		// The next page begins with the last object of this one.
		n := len(list.Resources)
		if !strangers || n == 0 || start+n > list.TotalResults {
			return id, nil
		}
		start, last = start+n-1, string(list.Resources[n-1].ID)
	}
	if id != "" {
		return id, nil
	}
	return "", &target.Error{
		Class: target.Permanent, Op: op,
		Detail: "the server ignores filters and has too many objects to look through: " + filter,
	}
}

func (k collection) page(ctx context.Context, op, filter string, startIndex int) (listResponse, error) {
	var list listResponse
	query := url.Values{"count": {strconv.Itoa(pageSize)}}
	if filter != "" {
		query.Set("filter", filter)
	}
	if startIndex > 1 {
		query.Set("startIndex", strconv.Itoa(startIndex))
	}
	if k.exclude != "" {
		query.Set("excludedAttributes", k.exclude)
	}
	err := k.c.http.do(ctx, call{op: op, method: http.MethodGet, path: k.path + "?" + query.Encode(), into: &list})
	if err != nil && target.ClassOf(err) == target.Gone {
		return list, nil // some servers say so when nothing matches
	}
	return list, err
}

// quote writes a filter's string (RFC 7644 §3.4.2.2: as in JSON).
func quote(text string) string {
	return `"` + filterEscapes.Replace(text) + `"`
}

var filterEscapes = strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`, "\r", `\r`, "\t", `\t`)
