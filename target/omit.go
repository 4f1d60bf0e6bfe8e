package target

import (
	"errors"
	"slices"
	"strings"
	"unicode"
)

// WithSuspects says in a refusal which attributes may be at fault, of those that
// were sent and that the target can do without: those that its words name, or
// all. content says that the refusal is for what the object says, by the
// target's own code for it; one that names an attribute of ours is.
func WithSuspects(err error, content bool, sent []string) error {
	e, ok := errors.AsType[*Error](err)
	if !ok || e.Class != Permanent {
		return err
	}
	told := *e
	told.Attributes = slices.DeleteFunc(slices.Clone(sent), func(name string) bool { return !names(e.Detail, name) })
	told.Content = content || len(told.Attributes) > 0
	if len(told.Attributes) == 0 {
		told.Attributes = sent
	}
	return &told
}

// names reports whether words name an attribute: by the last part of its path,
// as a word of its own.
func names(words, attribute string) bool {
	attribute = attribute[strings.LastIndexAny(attribute, ":.")+1:]
	words, attribute = strings.ToLower(words), strings.ToLower(attribute)
	for from := 0; attribute != ""; {
		at := strings.Index(words[from:], attribute)
		if at < 0 {
			return false
		}
		at += from
		before, after := strings.TrimRightFunc(words[:at], isLetter), strings.TrimLeftFunc(words[at+len(attribute):], isLetter)
		if len(before) == at && len(after) == len(words)-at-len(attribute) {
			return true
		}
		from = at + len(attribute)
	}
	return false
}

func isLetter(r rune) bool {
	return r < unicode.MaxASCII && (unicode.IsLetter(r) || unicode.IsDigit(r))
}

// Omitted reports whether an attribute is among those to be left out.
func Omitted(omit []string, attribute string) bool {
	return slices.ContainsFunc(omit, func(name string) bool { return strings.EqualFold(name, attribute) })
}
