package marketplace

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/openkoo/connector/directory"
)

// The result codes of spec/marketplace.md §2.
const (
	codeSuccess         = "000000"
	codeUnauthenticated = "000001"
	codeInvalid         = "000002"
	codeUnknownInstance = "000003"
	codeProcessing      = "000004" // of the base interface alone, as the next
	codeNoResource      = "000100"
	codeInternal        = "000005"
	codeClientSecret    = "000101"
)

// maxMessage bounds a resultMsg, in characters.
const maxMessage = 255

// unauthenticated is a call whose signature does not hold: 000001.
type unauthenticated struct{ reason string }

func (e *unauthenticated) Error() string { return e.reason }

// verdict is the code of what came of a call, nil for success, and the message
// for its caller.
func verdict(err error) (code, message string) {
	invalid, isInvalid := errors.AsType[*directory.InvalidError](err)
	denied, isDenied := errors.AsType[*unauthenticated](err)
	switch {
	case err == nil:
		return codeSuccess, "success."
	case isInvalid:
		return codeInvalid, invalid.Error()
	case isDenied:
		return codeUnauthenticated, denied.Error()
	case errors.Is(err, directory.ErrClientSecret):
		return codeClientSecret, "clientSecret: does not decrypt with the seller's private key"
	case errors.Is(err, directory.ErrUnknownInstance):
		return codeUnknownInstance, directory.ErrUnknownInstance.Error()
	default:
		return codeInternal, "internal error; send it again"
	}
}

// answerBody is an answer that holds no more than a code and a message.
func answerBody(code, message string) []byte {
	if utf8.RuneCountInString(message) > maxMessage {
		message = string([]rune(message)[:maxMessage-1]) + "…"
	}
	var b strings.Builder
	w := &canonicalWriter{out: &b}
	w.text(`{"resultCode": `)
	w.str(code)
	w.text(`, "resultMsg": `)
	w.str(message)
	w.text("}")
	w.flush()
	return asciiJSON([]byte(b.String()))
}

// asciiJSON writes what is not ASCII in JSON as \uXXXX: V1 forbids it otherwise
// (spec/marketplace.md §2).
func asciiJSON(text []byte) []byte {
	if !bytes.ContainsFunc(text, func(r rune) bool { return r >= utf8.RuneSelf }) {
		return text
	}
	escaped := make([]byte, 0, 2*len(text))
	for _, unit := range utf16.Encode([]rune(string(text))) {
		if unit < utf8.RuneSelf {
			escaped = append(escaped, byte(unit))
		} else {
			escaped = fmt.Appendf(escaped, `\u%04x`, unit)
		}
	}
	return escaped
}
