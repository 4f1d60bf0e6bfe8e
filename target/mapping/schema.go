package mapping

import (
	"fmt"
	"slices"
	"strings"
)

// Kind is what values an attribute takes.
type Kind int

// The kinds of attribute.
const (
	Text  Kind = iota // one string
	Texts             // a string, or a list of strings
	Any               // a string, a bool, a number, or a list of such
)

// String names the kind for people.
func (k Kind) String() string {
	switch k {
	case Text:
		return "text"
	case Texts:
		return "text or list of texts"
	default:
		return "text, bool, number or list"
	}
}

// Part says which part of what a connector is handed an attribute stands for.
type Part int

// The parts. SignIn and Name are what a connector also finds and places
// objects by, so a mapping of them changes the object and not one attribute.
const (
	Plain  Part = iota
	SignIn      // a user's sign-in name
	Name        // a department's name
)

// Attribute is an attribute that a connector sets.
type Attribute struct {
	Name string
	Kind Kind
	Part Part
	// Required refuses an empty value.
	Required bool
	// Default is the expression for what the connector makes of it unmapped,
	// empty if it does not set it.
	Default string
	// Fixed says why it cannot be mapped; empty if it can.
	Fixed string
}

// Object is what one sort of object at a target has.
type Object struct {
	// Attributes are those that the connector sets, in the order of its page.
	Attributes []Attribute
	// Further says whether another name may be mapped, and to what; nil: none
	// may. The error says which names there are.
	Further func(name string) (Kind, error)
}

// Schema is what of a connector's objects may be mapped.
type Schema struct {
	User, Department Object
}

// find is the attribute of a name, or why there is none to map.
func (o Object) find(name string) (Attribute, error) {
	at := slices.IndexFunc(o.Attributes, func(a Attribute) bool { return strings.EqualFold(a.Name, name) })
	switch {
	case at >= 0 && o.Attributes[at].Fixed != "":
		return Attribute{}, fmt.Errorf("cannot be mapped: %s", o.Attributes[at].Fixed)
	case at >= 0 && o.Attributes[at].Name != name:
		return Attribute{}, fmt.Errorf("no such attribute; it is spelt %s", o.Attributes[at].Name)
	case at >= 0:
		return o.Attributes[at], nil
	case o.Further == nil:
		return Attribute{}, fmt.Errorf("no such attribute; there are %s", strings.Join(o.names(), ", "))
	}
	kind, err := o.Further(name)
	if err != nil {
		return Attribute{}, fmt.Errorf("%w; there are also %s", err, strings.Join(o.names(), ", "))
	}
	return Attribute{Name: name, Kind: kind}, nil
}

// names are those that can be mapped.
func (o Object) names() []string {
	var names []string
	for _, a := range o.Attributes {
		if a.Fixed == "" {
			names = append(names, a.Name)
		}
	}
	return names
}

// Defaults are the rules by which a connector goes without a mapping.
func (s Schema) Defaults() Rules {
	return Rules{User: s.User.defaults(), Department: s.Department.defaults()}
}

func (o Object) defaults() map[string]string {
	rules := make(map[string]string, len(o.Attributes))
	for _, a := range o.Attributes {
		if a.Fixed == "" && a.Default != "" {
			rules[a.Name] = a.Default
		}
	}
	return rules
}
