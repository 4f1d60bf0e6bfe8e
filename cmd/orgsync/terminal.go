package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"sync"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/spf13/cobra"
)

// terminal is where the program prints. What the marketplace, a target or a file
// says must not draw on it: control characters and those that cannot be seen
// are written as JSON writes them, so that JSON stays what it is.
type terminal struct {
	to io.Writer

	mu   sync.Mutex
	rest []byte // of a character that came in parts
}

// sanitise has everything that a command prints go through a terminal.
func sanitise(root *cobra.Command) {
	root.PersistentPreRun = func(cmd *cobra.Command, _ []string) {
		root := cmd.Root()
		root.SetOut(&terminal{to: root.OutOrStdout()})
		root.SetErr(&terminal{to: root.ErrOrStderr()})
	}
}

// fileOf is the file that a writer writes to; nil if it is none. What is drawn on
// it, such as a progress bar, is the program's own.
func fileOf(w io.Writer) *os.File {
	if t, ok := w.(*terminal); ok {
		w = t.to
	}
	file, _ := w.(*os.File)
	return file
}

// Write implements io.Writer.
func (t *terminal) Write(text []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.rest) == 0 && !bytes.ContainsFunc(text, drawsOrHides) {
		_, err := t.to.Write(text)
		return len(text), err
	}
	safe := make([]byte, 0, len(text)+64)
	all := append(t.rest, text...)
	for len(all) > 0 && (utf8.FullRune(all) || len(all) >= utf8.UTFMax) {
		r, size := utf8.DecodeRune(all)
		safe = appendSafe(safe, all[:size], r)
		all = all[size:]
	}
	t.rest = bytes.Clone(all)
	_, err := t.to.Write(safe)
	return len(text), err
}

func appendSafe(safe, raw []byte, r rune) []byte {
	switch {
	case !drawsOrHides(r):
		return append(safe, raw...)
	case r == utf8.RuneError && len(raw) == 1:
		return fmt.Appendf(safe, `\x%02x`, raw[0])
	default:
		for _, unit := range utf16.AppendRune(nil, r) {
			safe = fmt.Appendf(safe, `\u%04x`, unit)
		}
		return safe
	}
}

// drawsOrHides reports a character that a terminal acts on, or that changes how
// others are shown. A line break and a tab are the program's own.
func drawsOrHides(r rune) bool {
	return r == utf8.RuneError || r != '\n' && r != '\t' && unicode.In(r, unicode.Cc, unicode.Cf, unicode.Zl, unicode.Zp)
}
