package fanout

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/openkoo/connector/target"
)

const (
	// mask stands for a personal value in what a target says.
	mask = "***"
	// maskedShortest is the length from which a value is masked, in bytes.
	maskedShortest = 2
	// cutShortest is the length from which the beginning of a value is masked at
	// the end of a text that was cut, in bytes.
	cutShortest = 4
)

// masked is a target's failure without the personal values of the account that
// it was sent: what it says is kept, shown and logged. The sign-in name stays,
// for without it nobody would know whom it is about.
func masked(err error, u target.User) error {
	e, ok := errors.AsType[*target.Error](err)
	if !ok {
		return err
	}
	told := *e
	values := personal(u)
	told.Detail = maskAll(e.Detail, values)
	changed := told.Detail != e.Detail
	if e.Err != nil {
		if text := maskAll(e.Err.Error(), values); text != e.Err.Error() {
			told.Err, changed = errors.New(text), true //nolint:err113 // what it was may not be told
		}
	}
	if !changed {
		return err // of one failure that many share the gate counts one
	}
	return &told
}

// personal are the values of an account that are nobody else's business, the
// longest first.
func personal(u target.User) []string {
	values := []string{u.DisplayName, u.Mobile, u.Email, u.EmployeeNumber, u.Title, u.WorkPlace, u.EntryDate}
	for _, m := range u.Mapped {
		list, ok := m.Value.([]any)
		if !ok {
			list = []any{m.Value}
		}
		for _, one := range list {
			if _, ok := one.(bool); !ok && one != nil {
				values = append(values, fmt.Sprint(one))
			}
		}
	}
	values = slices.DeleteFunc(values, func(v string) bool {
		return len(v) < maskedShortest || v == u.UserName || v == u.AccountName
	})
	for _, v := range slices.Clone(values) {
		quoted, err := json.Marshal(v)
		if err == nil {
			values = append(values, strings.Trim(string(quoted), `"`), asciiOf(v))
		}
		values = append(values, url.QueryEscape(v), url.PathEscape(v))
	}
	slices.SortFunc(values, func(a, b string) int { return len(b) - len(a) })
	return slices.Compact(values)
}

// asciiOf is a value as JSON in pure ASCII has it: in units of UTF-16.
func asciiOf(value string) string {
	var text strings.Builder
	for _, unit := range utf16.Encode([]rune(value)) {
		if unit < utf8.RuneSelf {
			text.WriteByte(byte(unit))
		} else {
			fmt.Fprintf(&text, "\\u%04x", unit)
		}
	}
	return text.String()
}

// maskAll masks values in a text: whole words, in any case, and what of one is
// left at the end of a text that was cut.
func maskAll(text string, values []string) string {
	if text == "" {
		return text
	}
	for _, v := range values {
		text = wordOf(v).ReplaceAllString(text, "${1}"+mask+"${2}")
	}
	whole := strings.TrimSuffix(text, "…")
	for _, v := range values {
		for n := len(v) - 1; n >= cutShortest && len(whole) < len(text); n-- {
			if utf8.RuneStart(v[n]) && strings.HasSuffix(whole, v[:n]) {
				return strings.TrimSuffix(whole, v[:n]) + mask + "…"
			}
		}
	}
	return text
}

// wordOf finds a value that is no part of a longer word.
func wordOf(value string) *regexp.Regexp {
	pattern := `(?i)(^|[^0-9A-Za-z])`
	if value[0] >= utf8.RuneSelf {
		pattern = `(?i)()`
	}
	pattern += regexp.QuoteMeta(value)
	if value[len(value)-1] >= utf8.RuneSelf {
		return regexp.MustCompile(pattern + `()`)
	}
	return regexp.MustCompile(pattern + `($|[^0-9A-Za-z])`)
}
