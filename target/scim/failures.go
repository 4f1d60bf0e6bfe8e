package scim

import (
	"encoding/json"
	"errors"
	"strings"
	"unicode"

	"github.com/openkoo/connector/target"
)

// refusal is how a server explains a failure (RFC 7644 §3.12).
type refusal struct {
	ScimType string `json:"scimType"`
	Detail   string `json:"detail"`
}

// scimType is the kind of a refusal.
type scimType string

func (s scimType) Error() string { return string(s) }

// words is a refusal's detail, or the text itself.
func words(body []byte) string {
	var r refusal
	if err := json.Unmarshal(body, &r); err == nil && r.Detail+r.ScimType != "" {
		return r.Detail
	}
	return string(body)
}

// cause is a refusal's kind, nil if it has none that a server may have.
func cause(body []byte) error {
	var r refusal
	err := json.Unmarshal(body, &r)
	if err != nil || r.ScimType == "" || len(r.ScimType) > 40 || strings.ContainsFunc(r.ScimType, func(c rune) bool { return !unicode.IsLetter(c) }) {
		return nil //nolint:nilerr // no refusal of SCIM's, but a failure all the same
	}
	return scimType(r.ScimType)
}

// statusOf is the HTTP status of a failure, 0 if there was no answer.
func statusOf(err error) int {
	if e, ok := errors.AsType[*target.Error](err); ok {
		return e.Status
	}
	return 0
}
