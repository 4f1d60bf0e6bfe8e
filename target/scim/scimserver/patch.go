package scimserver

import (
	"fmt"
	"maps"
	"net/http"

	"github.com/elimity-com/scim"
	scimerrors "github.com/elimity-com/scim/errors"
	"github.com/scim2/filter-parser/v2"
)

// Patch implements scim.ResourceHandler.
func (c *collection) Patch(_ *http.Request, id string, operations []scim.PatchOperation) (scim.Resource, error) {
	return c.change(id, func(o *object) error {
		for _, operation := range operations {
			if c.quirks.StrictRemoval && operation.Op == scim.PatchOperationRemove && operation.Path != nil && !o.shows(operation.Path.AttributePath) {
				return scimerrors.ScimErrorNoTarget
			}
			if err := o.patch(operation); err != nil {
				return err
			}
		}
		return nil
	})
}

// shows reports whether the object has an attribute.
func (o *object) shows(path filter.AttributePath) bool {
	name := path.AttributeName
	if name == "members" {
		return true // of which one may be there
	}
	attributes := map[string]any(o.attributes)
	if path.URI() != "" && path.URI() == o.extension {
		attributes, _ = attributes[o.extension].(map[string]any)
	}
	if sub := path.SubAttributeName(); sub != "" {
		attributes, _ = attributes[name].(map[string]any)
		name = sub
	}
	return attributes[name] != nil
}

// patch applies one operation (RFC 7644 §3.5.2).
func (o *object) patch(operation scim.PatchOperation) error {
	if operation.Path == nil {
		values, ok := operation.Value.(map[string]any)
		if !ok {
			return scimerrors.ScimErrorBadRequest("an operation without a path needs an object")
		}
		for name, value := range values {
			o.set(name, value)
		}
		return nil
	}
	path := operation.Path.AttributePath
	if path.AttributeName == "members" && operation.Op != scim.PatchOperationReplace {
		o.patchMembers(operation)
		return nil
	}
	value := operation.Value
	if operation.Op == scim.PatchOperationRemove {
		value = nil
	}
	switch name := path.AttributeName; {
	case path.URI() != "" && o.extension != "" && path.URI() == o.extension:
		o.setWithin(o.extension, name, value)
	case path.SubAttributeName() != "":
		o.setWithin(name, path.SubAttributeName(), value)
	default:
		o.set(name, value)
	}
	return nil
}

// patchMembers adds or removes members, without a look at all the others.
func (o *object) patchMembers(operation scim.PatchOperation) {
	if operation.Op == scim.PatchOperationAdd {
		o.addMembers(operation.Value)
		return
	}
	if e, ok := operation.Path.ValueExpression.(*filter.AttributeExpression); ok {
		o.removeMember(fmt.Sprint(e.CompareValue))
		return
	}
	for _, id := range memberIDs(operation.Value) {
		o.removeMember(id)
	}
}

// setWithin sets one attribute inside a complex one, nil to remove it.
func (o *object) setWithin(outer, name string, value any) {
	before, _ := o.attributes[outer].(map[string]any)
	inside := maps.Clone(before)
	if inside == nil {
		inside = make(map[string]any, 1)
	}
	if value == nil {
		delete(inside, name)
	} else {
		inside[name] = value
	}
	if len(inside) == 0 {
		delete(o.attributes, outer)
		return
	}
	o.attributes[outer] = inside
}

// set sets one attribute, nil to remove it; an extension's are merged into
// what is there.
func (o *object) set(name string, value any) {
	switch {
	case name == "externalId":
		o.externalID, _ = value.(string)
		return
	case name == "members":
		o.memberIDs, o.memberAt = nil, make(map[string]int)
		o.addMembers(value)
		return
	case value == nil:
		delete(o.attributes, name)
		return
	}
	before, isMap := o.attributes[name].(map[string]any)
	after, isMapToo := value.(map[string]any)
	if isMap && isMapToo && name == o.extension {
		merged := maps.Clone(before)
		maps.Copy(merged, after)
		value = merged
	}
	o.attributes[name] = value
}
