package scimserver

import (
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/elimity-com/scim"
	scimerrors "github.com/elimity-com/scim/errors"
	"github.com/elimity-com/scim/optional"
	"github.com/scim2/filter-parser/v2"
)

// object is a user or a group. Its members stand apart from its attributes, so
// that adding one does not copy all.
type object struct {
	id         string
	number     int
	externalID string
	attributes scim.ResourceAttributes
	extension  string // URI of its schema extension, empty for none
	memberIDs  []string
	memberAt   map[string]int
	versioned  bool
	changes    int
}

// version is the object's entity tag, empty without versions.
func (o *object) version() string {
	if !o.versioned {
		return ""
	}
	return `W/"` + strconv.Itoa(o.changes) + `"`
}

// collection is a resource handler with indexes.
type collection struct {
	name       string
	extension  string // URI of the schema extension, empty for none
	uniqueName bool
	quirks     Quirks

	mu         sync.RWMutex
	next       int
	byID       map[string]*object
	order      []string // ids by creation; deleted ones are left out lazily
	byExternal map[string]map[string]*object
	byName     map[string]map[string]*object
}

func newCollection(name, extension string, uniqueName bool, quirks Quirks) *collection {
	return &collection{
		name: name, extension: extension, uniqueName: uniqueName, quirks: quirks,
		byID:       make(map[string]*object),
		byExternal: make(map[string]map[string]*object),
		byName:     make(map[string]map[string]*object),
	}
}

func (c *collection) each(do func(*object)) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	for _, o := range c.byID {
		do(o)
	}
}

func (c *collection) size() int {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return len(c.byID)
}

func (c *collection) externalID(id string) (string, bool) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	o, ok := c.byID[id]
	if !ok {
		return "", false
	}
	return o.externalID, true
}

// has reports whether there is an object of an id.
func (c *collection) has(id string) bool {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.byID[id] != nil
}

// namedOther reports whether another object than that of an id has a name.
func (c *collection) namedOther(name, id string) bool {
	c.mu.RLock()
	defer c.mu.RUnlock()
	for other := range c.byName[strings.ToLower(name)] {
		if other != id {
			return true
		}
	}
	return false
}

// cycle reports whether a group would be among the members of one of those that
// are added to it, or of theirs.
func (c *collection) cycle(id string, added []string) bool {
	c.mu.RLock()
	defer c.mu.RUnlock()
	seen := make(map[string]bool)
	for len(added) > 0 {
		one := added[len(added)-1]
		added = added[:len(added)-1]
		if one == id {
			return true
		}
		if group := c.byID[one]; group != nil && !seen[one] {
			seen[one] = true
			added = append(added, group.memberIDs...)
		}
	}
	return false
}

// nameOf is what the object is looked up by: userName or displayName.
func (o *object) nameOf(users bool) string {
	attribute := "displayName"
	if users {
		attribute = "userName"
	}
	name, _ := o.attributes[attribute].(string)
	return strings.ToLower(name)
}

func (c *collection) index(o *object) {
	add(c.byExternal, o.externalID, o)
	add(c.byName, o.nameOf(c.uniqueName), o)
}

func (c *collection) unindex(o *object) {
	remove(c.byExternal, o.externalID, o)
	remove(c.byName, o.nameOf(c.uniqueName), o)
}

func add(index map[string]map[string]*object, key string, o *object) {
	if index[key] == nil {
		index[key] = make(map[string]*object, 1)
	}
	index[key][o.id] = o
}

func remove(index map[string]map[string]*object, key string, o *object) {
	delete(index[key], o.id)
	if len(index[key]) == 0 {
		delete(index, key)
	}
}

// take moves members and externalId out of attributes as they came.
func (o *object) take(attributes scim.ResourceAttributes) {
	o.attributes = maps.Clone(attributes)
	if external, ok := attributes["externalId"].(string); ok {
		o.externalID = external
	}
	o.memberIDs, o.memberAt = nil, make(map[string]int)
	o.addMembers(attributes["members"])
	delete(o.attributes, "externalId")
	delete(o.attributes, "members")
}

func memberIDs(value any) []string {
	var ids []string
	switch v := value.(type) {
	case []any:
		for _, one := range v {
			ids = append(ids, memberIDs(one)...)
		}
	case map[string]any:
		if id, ok := v["value"].(string); ok {
			ids = append(ids, id)
		}
	}
	return ids
}

func (o *object) addMembers(value any) {
	for _, id := range memberIDs(value) {
		if _, ok := o.memberAt[id]; !ok {
			o.memberAt[id] = len(o.memberIDs)
			o.memberIDs = append(o.memberIDs, id)
		}
	}
}

func (o *object) removeMember(id string) {
	at, ok := o.memberAt[id]
	if !ok {
		return
	}
	last := len(o.memberIDs) - 1
	o.memberIDs[at] = o.memberIDs[last]
	o.memberAt[o.memberIDs[at]] = at
	o.memberIDs = o.memberIDs[:last]
	delete(o.memberAt, id)
}

func (o *object) resource(withMembers bool) scim.Resource {
	attributes := maps.Clone(o.attributes)
	if withMembers && len(o.memberIDs) > 0 {
		members := make([]any, len(o.memberIDs))
		for i, id := range o.memberIDs {
			members[i] = map[string]any{"value": id}
		}
		attributes["members"] = members
	}
	resource := scim.Resource{ID: o.id, Attributes: attributes, Meta: scim.Meta{Version: o.version()}}
	if o.externalID != "" {
		resource.ExternalID = optional.NewString(o.externalID)
	}
	return resource
}

// Create implements scim.ResourceHandler.
func (c *collection) Create(_ *http.Request, attributes scim.ResourceAttributes) (scim.Resource, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.next++
	o := &object{id: c.quirks.idOf(strings.ToLower(c.name[:1]), c.next), versioned: c.quirks.Versions, number: c.next, extension: c.extension}
	o.take(attributes)
	if c.uniqueName && len(c.byName[o.nameOf(true)]) > 0 {
		return scim.Resource{}, scimerrors.ScimErrorUniqueness
	}
	c.byID[o.id] = o
	c.order = append(c.order, o.id)
	c.index(o)
	return o.resource(true), nil
}

// Get implements scim.ResourceHandler.
func (c *collection) Get(_ *http.Request, id string) (scim.Resource, error) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	o, ok := c.byID[id]
	if !ok {
		return scim.Resource{}, scimerrors.ScimErrorResourceNotFound(id)
	}
	return o.resource(true), nil
}

// GetAll implements scim.ResourceHandler.
func (c *collection) GetAll(_ *http.Request, params scim.ListRequestParams) (scim.Page, error) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	var found []*object
	if params.FilterValidator != nil {
		candidates, err := c.candidates(params.FilterValidator.GetFilter())
		if err != nil {
			return scim.Page{}, err
		}
		for _, o := range candidates {
			found = append(found, o)
		}
		slices.SortFunc(found, func(a, b *object) int { return a.number - b.number })
	} else {
		for _, id := range c.order {
			if o, ok := c.byID[id]; ok {
				found = append(found, o)
			}
		}
	}
	page := scim.Page{TotalResults: len(found), Resources: []scim.Resource{}}
	from := min(max(params.StartIndex-1, 0), len(found))
	for _, o := range found[from:min(from+max(params.Count, 0), len(found))] {
		page.Resources = append(page.Resources, o.resource(true))
	}
	return page, nil
}

// candidates answers eq on indexed attributes, joined by and.
func (c *collection) candidates(expression filter.Expression) (map[string]*object, error) {
	switch e := expression.(type) {
	case *filter.AttributeExpression:
		text, _ := e.CompareValue.(string)
		if e.Operator == filter.EQ {
			switch strings.ToLower(e.AttributePath.AttributeName) {
			case "externalid":
				return c.byExternal[text], nil
			case "username", "displayname":
				return c.byName[strings.ToLower(text)], nil
			}
		}
	case *filter.LogicalExpression:
		if e.Operator == filter.AND {
			left, err := c.candidates(e.Left)
			if err != nil {
				return nil, err
			}
			right, err := c.candidates(e.Right)
			if err != nil {
				return nil, err
			}
			both := make(map[string]*object)
			for id, o := range left {
				if right[id] != nil {
					both[id] = o
				}
			}
			return both, nil
		}
	}
	return nil, scimerrors.ScimErrorBadRequest("only eq and and, on externalId, userName and displayName, are supported")
}

// Replace implements scim.ResourceHandler.
func (c *collection) Replace(r *http.Request, id string, attributes scim.ResourceAttributes) (scim.Resource, error) {
	return c.change(id, func(o *object) error {
		if tag := r.Header.Get("If-Match"); o.versioned && tag != "" && tag != o.version() {
			return scimerrors.ScimError{Status: http.StatusPreconditionFailed, Detail: "it has changed meanwhile"}
		}
		o.externalID = ""
		o.take(attributes)
		return nil
	})
}

// change changes an object and keeps the indexes true.
func (c *collection) change(id string, do func(*object) error) (scim.Resource, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	o, ok := c.byID[id]
	if !ok {
		return scim.Resource{}, scimerrors.ScimErrorResourceNotFound(id)
	}
	c.unindex(o)
	defer c.index(o)
	attributes, externalID := maps.Clone(o.attributes), o.externalID
	err := do(o)
	if err == nil && c.uniqueName && len(c.byName[o.nameOf(true)]) > 0 {
		err = scimerrors.ScimErrorUniqueness
	}
	if err != nil {
		o.attributes, o.externalID = attributes, externalID
		return scim.Resource{}, err
	}
	o.changes++
	return o.resource(false), nil
}

// Delete implements scim.ResourceHandler.
func (c *collection) Delete(_ *http.Request, id string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	o, ok := c.byID[id]
	if !ok {
		return scimerrors.ScimErrorResourceNotFound(id)
	}
	c.unindex(o)
	delete(c.byID, id)
	return nil
}
