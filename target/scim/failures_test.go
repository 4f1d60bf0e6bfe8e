package scim

import (
	"net/http"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
)

func FuzzDetail(f *testing.F) {
	for _, seed := range []string{"", "{}", `{"detail":"no"}`, `{"scimType":"noTarget","detail":"no secret-token"}`, "<html>\xff", `{"detail":7}`, "secret-token"} {
		f.Add([]byte(seed))
	}
	t, err := newTransport(Config{URL: "http://localhost", BearerToken: "secret-token"})
	require.NoError(f, err)
	f.Fuzz(func(tt *testing.T, text []byte) {
		detail, kind := t.detail(text)
		if kind != nil {
			detail += kind.Error()
		}
		require.True(tt, utf8.ValidString(detail))
		require.LessOrEqual(tt, len(detail), 2*(maxDetail+len("…")))
		require.NotContains(tt, detail, "secret-token")
		require.False(tt, strings.ContainsFunc(detail, func(r rune) bool { return r < ' ' }))
	})
}

func FuzzRetryAfter(f *testing.F) {
	for _, seed := range []string{"", "0", "7", "-1", "1e9", "99999999999999999999", "Mon, 02 Jan 2006 15:04:05 GMT", "Fri, 31 Dec 9999 23:59:59 GMT"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		wait := retryAfter(http.Header{"Retry-After": {text}})
		require.GreaterOrEqual(t, wait, maxRetryAfter*0)
		require.LessOrEqual(t, wait, maxRetryAfter)
	})
}
