package ldap

import (
	"errors"
	"slices"
	"strings"
	"unicode"

	ldapv3 "github.com/go-ldap/ldap/v3"

	"github.com/openkoo/connector/target"
	"github.com/openkoo/connector/target/egress"
)

// maxDetail bounds what is kept of a server's own words, in bytes.
const maxDetail = 300

// classes says what a result code (RFC 4511 §4.1.9 and appendix A) means.
// Codes that are not listed are Transient.
var classes = map[uint16]target.Class{
	ldapv3.LDAPResultAuthMethodNotSupported:       target.Down,
	ldapv3.LDAPResultStrongAuthRequired:           target.Down,
	ldapv3.LDAPResultConfidentialityRequired:      target.Down,
	ldapv3.LDAPResultInappropriateAuthentication:  target.Down,
	ldapv3.LDAPResultInvalidCredentials:           target.Down,
	ldapv3.LDAPResultInsufficientAccessRights:     target.Permanent, // of one entry, as far as is known
	ldapv3.LDAPResultAuthorizationDenied:          target.Down,
	ldapv3.LDAPResultReferral:                     target.Down,
	ldapv3.LDAPResultUnavailable:                  target.Down,
	ldapv3.LDAPResultBusy:                         target.RateLimited,
	ldapv3.LDAPResultNoSuchObject:                 target.Gone,
	ldapv3.LDAPResultEntryAlreadyExists:           target.Conflict,
	ldapv3.LDAPResultProtocolError:                target.Permanent,
	ldapv3.LDAPResultUnavailableCriticalExtension: target.Permanent,
	ldapv3.LDAPResultNoSuchAttribute:              target.Permanent,
	ldapv3.LDAPResultUndefinedAttributeType:       target.Permanent,
	ldapv3.LDAPResultInappropriateMatching:        target.Permanent,
	ldapv3.LDAPResultConstraintViolation:          target.Permanent,
	ldapv3.LDAPResultAttributeOrValueExists:       target.Permanent,
	ldapv3.LDAPResultInvalidAttributeSyntax:       target.Permanent,
	ldapv3.LDAPResultAliasProblem:                 target.Permanent,
	ldapv3.LDAPResultInvalidDNSyntax:              target.Permanent,
	ldapv3.LDAPResultUnwillingToPerform:           target.Permanent,
	ldapv3.LDAPResultNamingViolation:              target.Permanent,
	ldapv3.LDAPResultObjectClassViolation:         target.Permanent,
	ldapv3.LDAPResultNotAllowedOnRDN:              target.Permanent,
	ldapv3.LDAPResultObjectClassModsProhibited:    target.Permanent,
	ldapv3.LDAPResultAffectsMultipleDSAs:          target.Permanent,
}

// ofContent are the result codes that are about what an entry says.
var ofContent = []int{
	ldapv3.LDAPResultUndefinedAttributeType, ldapv3.LDAPResultConstraintViolation, ldapv3.LDAPResultAttributeOrValueExists,
	ldapv3.LDAPResultInvalidAttributeSyntax, ldapv3.LDAPResultObjectClassViolation,
}

// withSuspects says in a refusal of an entry which of its attributes may be at
// fault. Without cn and sn there is no account.
func withSuspects(err error, attributes []ldapv3.Attribute) error {
	e, ok := errors.AsType[*target.Error](err)
	if !ok || e.Class != target.Permanent || !e.Content && !slices.Contains(ofContent, e.Status) {
		return err
	}
	var sent []string
	for _, a := range attributes {
		if len(a.Vals) > 0 && !strings.EqualFold(a.Type, "cn") && !strings.EqualFold(a.Type, "sn") {
			sent = append(sent, a.Type)
		}
	}
	return target.WithSuspects(err, true, sent)
}

// hints says what an operator can do about a result code.
var hints = map[uint16]string{
	ldapv3.LDAPResultInvalidCredentials:       "it does not let us in; check the target's auth",
	ldapv3.LDAPResultInsufficientAccessRights: "it does not let us write there; check the rights of the DN we bind as",
	ldapv3.LDAPResultStrongAuthRequired:       "it wants TLS or another way to bind",
	ldapv3.LDAPResultConfidentialityRequired:  "it wants TLS; remove plaintext",
	ldapv3.LDAPResultReferral:                 "it is a copy that is not written to; set url to the server that is",
}

// result is the server's result code; false for what is no answer of a server.
func result(err error) (uint16, bool) {
	e, ok := errors.AsType[*ldapv3.Error](err)
	if !ok || e.ResultCode >= ldapv3.ErrorNetwork {
		return 0, false
	}
	return e.ResultCode, true
}

func is(err error, code uint16) bool {
	e, ok := errors.AsType[*target.Error](err)
	return ok && e.Status == int(code)
}

// broken reports whether the connection cannot be used again.
func broken(err error) bool {
	if err == nil {
		return false
	}
	_, answered := result(err)
	return !answered
}

// operationError classes what an operation ended with.
func operationError(op string, err error) error {
	if err == nil {
		return nil
	}
	code, answered := result(err)
	if !answered {
		return &target.Error{Class: target.Transient, Op: op, UnknownOutcome: true, Err: err}
	}
	class, ok := classes[code]
	if !ok {
		class = target.Transient
	}
	return &target.Error{Class: class, Op: op, Status: int(code), Detail: detail(code, err)}
}

// openError classes a connection that did not come about: the target as a
// whole is concerned, and nothing was done.
func openError(op string, err error) error {
	if code, answered := result(err); answered {
		e := &target.Error{Class: target.Down, Op: op, Status: int(code), Detail: detail(code, err)}
		if _, ok := errors.AsType[startTLSError](err); ok {
			e.Detail = "it does not offer StartTLS; use ldaps://, or set plaintext inside your own network. " + e.Detail
		}
		return e
	}
	explained := egress.Explain(err)
	if strings.Contains(err.Error(), "x509: ") { // the library wraps StartTLS's failure as text
		explained = "its certificate does not verify; set caFile if its authority is private"
	}
	return &target.Error{Class: target.Down, Op: op, Detail: explained, Err: err}
}

func detail(code uint16, err error) string {
	words := ldapv3.LDAPResultCodeMap[code]
	if e, ok := errors.AsType[*ldapv3.Error](err); ok && e.Err != nil && e.Err.Error() != "" {
		words += ": " + e.Err.Error()
	}
	if hint := hints[code]; hint != "" {
		words = hint + ". " + words
	}
	words = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(words, "?"))
	if len(words) > maxDetail {
		words = strings.ToValidUTF8(words[:maxDetail], "") + "…"
	}
	return words
}

func down(op, words string) error {
	return &target.Error{Class: target.Down, Op: op, Detail: words}
}

// asDown makes every failure of a probe one of the target as a whole.
func asDown(err error) error {
	if e, ok := errors.AsType[*target.Error](err); ok && e.Class != target.RateLimited {
		down := *e
		down.Class = target.Down
		return &down
	}
	return err
}
