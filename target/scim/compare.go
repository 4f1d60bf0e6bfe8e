package scim

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/openkoo/connector/target"
)

// CompareDepartment implements target.Lister.
func (c *Connector) CompareDepartment(found target.Found, want target.Department) target.Comparison {
	return c.department(want).compare(found.Content)
}

// CompareUser implements target.Lister.
func (c *Connector) CompareUser(found target.Found, want target.User) target.Comparison {
	return c.user(want).compare(found.Content)
}

// compare compares what we set with what is there. What is the target's own is
// not looked at.
func (a attributes) compare(content any) target.Comparison {
	resource, _ := content.(map[string]any)
	var c target.Comparer
	for _, one := range a {
		have := lookUp(resource, one.path)
		if same := alike(one.path, one.value, have); !same || one.value != nil {
			c.Check(one.path, same, have)
		}
	}
	return c.Comparison()
}

// lookUp finds what a path names: an attribute, one inside another, or one of
// an extension.
func lookUp(resource map[string]any, path string) any {
	if at := strings.LastIndexByte(path, ':'); at >= 0 {
		extension, _ := member(resource, path[:at]).(map[string]any)
		resource, path = extension, path[at+1:]
	}
	outer, inner, ok := strings.Cut(path, ".")
	value := member(resource, outer)
	if !ok {
		return value
	}
	inside, _ := value.(map[string]any)
	return member(inside, inner)
}

// member is an attribute by name; names are without regard to case (RFC 7643
// §2.1).
func member(resource map[string]any, name string) any {
	if value, ok := resource[name]; ok {
		return value
	}
	for key, value := range resource {
		if strings.EqualFold(key, name) {
			return value
		}
	}
	return nil
}

// alike reports whether a server shows an attribute as it was set. Servers add
// to an element of a list what nobody set, and leave out its type.
func alike(path string, want, have any) bool {
	switch w := want.(type) {
	case nil:
		return isEmpty(have)
	case string:
		text, ok := have.(string)
		if !ok && have != nil {
			text = fmt.Sprint(have)
		}
		return text == w || (path == "userName" && strings.EqualFold(text, w)) // RFC 7643 §4.1.1
	case bool:
		if text, ok := have.(string); ok {
			return strings.EqualFold(text, strconv.FormatBool(w))
		}
		return have == w || (have == nil && !w)
	case []any:
		list, _ := have.([]any)
		return len(list) == len(w) && allAlike(w, list)
	case map[string]any:
		inside, _ := have.(map[string]any)
		return elementsAlike(w, inside)
	default:
		return fmt.Sprint(have) == fmt.Sprint(want)
	}
}

func isEmpty(value any) bool {
	switch v := value.(type) {
	case nil:
		return true
	case string:
		return v == ""
	case []any:
		return len(v) == 0
	case map[string]any:
		return len(v) == 0
	default:
		return false
	}
}

func allAlike(want, have []any) bool {
	for _, w := range want {
		found := false
		for _, h := range have {
			one, isMap := w.(map[string]any)
			other, _ := h.(map[string]any)
			found = found || (isMap && elementsAlike(one, other)) || (!isMap && alike("", w, h))
		}
		if !found {
			return false
		}
	}
	return true
}

// elementsAlike compares what an element must have, its value, and what else it
// shows.
func elementsAlike(want, have map[string]any) bool {
	for name, w := range want {
		h := member(have, name)
		if (h == nil && name != "value" && have != nil) || alike("", w, h) {
			continue
		}
		return false
	}
	return true
}
