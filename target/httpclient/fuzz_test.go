package httpclient

import (
	"net/http"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
)

func FuzzWords(f *testing.F) {
	for _, seed := range []string{"", "{}", "no secret-token", "<html>\xff", "secret-token", strings.Repeat("部", 200) + "secret-token"} {
		f.Add(seed)
	}
	hide := redactor(Request{Header: http.Header{"Authorization": {"Bearer secret-token"}}})
	f.Fuzz(func(t *testing.T, text string) {
		words := snippet(hide(text))
		require.True(t, utf8.ValidString(words))
		require.LessOrEqual(t, len(words), maxDetail+len("…"))
		require.NotContains(t, words, "secret-token")
		require.False(t, strings.ContainsFunc(words, func(r rune) bool { return r < ' ' }))
	})
}

func FuzzRetryAfter(f *testing.F) {
	for _, seed := range []string{"", "0", "7", "-1", "1e9", "99999999999999999999", "Mon, 02 Jan 2006 15:04:05 GMT", "Fri, 31 Dec 9999 23:59:59 GMT"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		wait := RetryAfter(http.Header{"Retry-After": {text}})
		require.GreaterOrEqual(t, wait, time.Duration(0))
		require.LessOrEqual(t, wait, maxRetryAfter)
	})
}
