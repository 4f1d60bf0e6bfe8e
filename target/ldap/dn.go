package ldap

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	ldapv3 "github.com/go-ldap/ldap/v3"

	"github.com/openkoo/connector/directory"
	"github.com/openkoo/connector/target"
)

// place is a DN taken apart.
type place struct {
	attribute, value string // of the first RDN
	parent           string
}

func splitDN(text string) (place, error) {
	dn, err := ldapv3.ParseDN(text)
	if err != nil {
		return place{}, fmt.Errorf("DN %q: %w", text, err)
	}
	if len(dn.RDNs) == 0 || len(dn.RDNs[0].Attributes) == 0 {
		return place{}, fmt.Errorf("DN %q: empty", text)
	}
	first := dn.RDNs[0].Attributes[0]
	return place{attribute: strings.ToLower(first.Type), value: first.Value, parent: (&ldapv3.DN{RDNs: dn.RDNs[1:]}).String()}, nil
}

// sameDN compares without regard to case and escaping.
func sameDN(a, b string) bool {
	x, err := ldapv3.ParseDN(a)
	if err != nil {
		return false
	}
	y, err := ldapv3.ParseDN(b)
	return err == nil && x.EqualFold(y)
}

// within reports whether a DN is another, or stands below it.
func within(dn, above string) bool {
	x, err := ldapv3.ParseDN(above)
	if err != nil {
		return false
	}
	y, err := ldapv3.ParseDN(dn)
	return err == nil && (x.EqualFold(y) || x.AncestorOfFold(y))
}

// rdn writes one attribute and its value as RFC 4514 wants it. Control
// characters are written as hex digits: as they are, servers take those at
// either end for white space around the value.
func rdn(attribute, value string) string {
	var escaped strings.Builder
	for _, r := range ldapv3.EscapeDN(value) {
		if r < ' ' {
			fmt.Fprintf(&escaped, "\\%02x", r)
		} else {
			escaped.WriteRune(r)
		}
	}
	return attribute + "=" + escaped.String()
}

func join(rdn, parent string) string { return rdn + "," + parent }

// maxRDN bounds an RDN's value, in bytes of its escaped form. OpenLDAP takes
// 240 and fails beyond with no more than "other"; what target.Beside adds must fit too.
const maxRDN = 200

// short is the name as an RDN takes it. One that is too long is cut, and made
// unique again; the whole name is another value of the attribute.
func short(name, externalID string) string {
	cost, cut := 0, 0
	for i, r := range name {
		if strings.ContainsRune(",+\"\\<>;=#", r) || r < ' ' {
			cost += 3 // \2C
		} else {
			cost += utf8.RuneLen(r)
		}
		if cost <= maxRDN-len(target.Beside("", externalID)) {
			cut = i + utf8.RuneLen(r)
		}
	}
	if cost <= maxRDN {
		return name
	}
	return target.Beside(strings.TrimRight(name[:cut], " "), externalID)
}

// isExternalID reports whether a value is one of ours: the attribute may hold
// what an operator keeps there.
func isExternalID(value string) bool {
	at := strings.LastIndexByte(value, '/')
	if at < 0 {
		return false
	}
	_, err := directory.ParseScope(value[:at])
	return err == nil
}

// checkText refuses what no directory takes.
func checkText(op string, texts ...string) error {
	for _, text := range texts {
		switch {
		case strings.ContainsRune(text, 0):
			return &target.Error{Class: target.Permanent, Content: true, Op: op, Detail: fmt.Sprintf("%q holds a NUL", text)}
		case !utf8.ValidString(text):
			return &target.Error{Class: target.Permanent, Content: true, Op: op, Detail: fmt.Sprintf("%q is no UTF-8", text)}
		}
	}
	return nil
}

// checkAttributes refuses attributes that no directory takes, by their names.
func checkAttributes(op string, attributes []ldapv3.Attribute) error {
	for _, a := range attributes {
		if e, ok := errors.AsType[*target.Error](checkText(op, a.Vals...)); ok {
			e.Detail = a.Type + ": " + e.Detail
			return e
		}
	}
	return nil
}
