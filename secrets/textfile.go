package secrets

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"unicode/utf8"

	"golang.org/x/text/encoding/unicode"
	"golang.org/x/text/transform"
)

// errNoText means that a file holds something else than text.
var errNoText = errors.New("not a text file; save it as UTF-8")

// ReadFile reads a key, a token or a certificate from a text file, whatever the
// editor or the shell saved it as: a byte order mark is no part of it, and
// UTF-16, which PowerShell writes, is read. White space around it is left out.
func ReadFile(path string) ([]byte, error) {
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	text, err := Text(raw)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return bytes.TrimSpace(text), nil
}

// Text is a file's text as UTF-8, without a byte order mark.
func Text(raw []byte) ([]byte, error) {
	text, _, err := transform.Bytes(unicode.BOMOverride(transform.Nop), raw)
	if err != nil || !utf8.Valid(text) || bytes.IndexByte(text, 0) >= 0 {
		return nil, errNoText
	}
	return text, nil
}
