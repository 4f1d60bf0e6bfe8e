package targettest

import (
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/openkoo/connector/target"
)

// drops is the one nasty answer that only patience ends.
const drops = "drops"

// nasty are answers that no sane server gives, to any request.
func nasty(p *Proxy) map[string]Fault {
	page := func(item string) string { return "[" + strings.Repeat(item+",", 99) + item + "]" }
	scim := `{"totalResults":1000000000,"startIndex":1,"itemsPerPage":100,"next":"?cursor=1","nextCursor":"1","Resources":%s}`
	strangers := page(`{"id":"1","externalId":"somebody else's","userName":"x","name":"x","attributes":{}}`)
	return map[string]Fault{
		"HTML":                     Answer(200, "<html>sign in</html>", "Content-Type", "text/html"),
		"HTML called JSON":         Answer(200, "<html>sign in</html>", "Content-Type", "application/json"),
		"nothing":                  Answer(200, ""),
		"no content":               Answer(204, ""),
		"null":                     Answer(200, "null"),
		"a list of nulls":          Answer(200, "[null,null]"),
		"an object of wrong kinds": Answer(200, `{"id":{},"Resources":"x","totalResults":"many","access_token":7,"members":7,"attributes":[]}`),
		"nested without end":       Answer(200, strings.Repeat(`{"a":[`, 200_000)),
		"not UTF-8":                Answer(200, "{\"id\":\"\xff\xfe\"}"),
		"a page without end":       Answer(200, fmt.Sprintf(scim, strangers)), // the next one is the same, and so is its link
		"a list without end":       Answer(200, strangers),
		"gigabytes":                p.Endless,
		"gigabytes, compressed":    bomb,
		"a header without end":     longHeader,
		"half an answer":           half,
		drops:                      p.drops,
	}
}

// packed is a kilobyte that grows a thousandfold. Gzip may be many such in a row.
var packed = sync.OnceValue(func() []byte {
	var member bytes.Buffer
	zeros := gzip.NewWriter(&member)
	_, _ = zeros.Write(make([]byte, 1<<20)) // a buffer takes all
	_ = zeros.Close()
	return member.Bytes()
})

// bomb answers with a few megabytes that grow a thousandfold.
func bomb(w http.ResponseWriter, r *http.Request, _ http.Handler) {
	w.Header().Set("Content-Encoding", "gzip")
	for range 1 << 11 {
		if _, err := w.Write(packed()); err != nil || r.Context().Err() != nil {
			return
		}
	}
}

// longHeader answers with a header of a megabyte.
func longHeader(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
	for i := range 1 << 10 {
		w.Header().Set(fmt.Sprintf("X-%d", i), strings.Repeat("x", 1<<10))
	}
	w.WriteHeader(http.StatusOK)
}

// half promises more than comes.
func half(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
	w.Header().Set("Content-Length", "1000")
	_, _ = w.Write([]byte(`{"id":"1"`))
	reset(w)
}

// drops answers a byte at a time, for ever.
func (p *Proxy) drops(w http.ResponseWriter, r *http.Request, _ http.Handler) {
	ticker := time.NewTicker(20 * time.Millisecond) // what a slow peer does; nothing waits for it
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
		case <-p.closing:
			return
		case <-r.Context().Done():
			return
		}
		if _, err := w.Write([]byte(" ")); err != nil || http.NewResponseController(w).Flush() != nil {
			return
		}
	}
}

// hostileLaws is one law for each answer that no sane server gives: every call
// ends, whatever fails is a *target.Error of few words without the secret, and
// when the server has come to its senses all works again.
func hostileLaws() map[string]func(*law) {
	laws := make(map[string]func(*law))
	for name := range nasty(&Proxy{}) {
		laws[name] = func(l *law) {
			operations := l.operations()
			if name == drops { // all else comes to an end by itself
				l.connector = l.connectWith(l.wire().URL, l.Secret, impatience)
				require.Eventually(l, func() bool { // is let in before, however slow the machine is
					_, err := l.connector.Describe(l.ctx)
					return err == nil
				}, patience, time.Millisecond)
			}
			operations["probe"] = func(ctx context.Context) error {
				_, err := l.connector.Describe(ctx)
				return err
			}
			l.wire().Always(nasty(l.wire())[name])
			for operation, err := range attempt(l.ctx, operations) {
				if err == nil {
					continue // a status alone may be the answer
				}
				var e *target.Error
				require.ErrorAs(l, err, &e, operation)
				require.NotContains(l, err.Error(), l.Secret, operation)
				require.Less(l, len(err.Error()), 1000, operation)
			}
			l.wire().Heal()
			l.connector = l.connect(l.wire().URL, l.Secret)
			l.capabilities()
			require.NoError(l, l.operations()["change an account"](l.ctx), "afterwards")
		}
	}
	return laws
}
