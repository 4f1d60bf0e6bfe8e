package config

import (
	"fmt"
	"io"
	"log/slog"
)

// masked stands where a secret would be.
const masked = "***"

// Secret is text that no log, error or dump shows: every way of formatting it
// writes asterisks. Reveal is the one way to the text.
type Secret string

// Reveal returns the text itself.
func (s Secret) Reveal() string { return string(s) }

// String hides the text.
func (s Secret) String() string {
	if s == "" {
		return ""
	}
	return masked
}

// Format hides the text from every verb, %q, %x and %#v included.
func (s Secret) Format(state fmt.State, _ rune) { _, _ = io.WriteString(state, s.String()) }

// LogValue hides the text from a log.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }

// MarshalText hides the text from JSON and YAML.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// reveal returns the texts of several secrets.
func reveal(secrets []Secret) []string {
	texts := make([]string, len(secrets))
	for i, s := range secrets {
		texts[i] = s.Reveal()
	}
	return texts
}
