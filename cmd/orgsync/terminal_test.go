package main

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"unicode"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func TestTerminal_ShowsWhatWouldDraw(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"总部\tabc\n":                     "总部\tabc\n",
		"\x1b]0;title\x07":              `\u001b]0;title\u0007`,
		"a\rb\x7f\u009b2J":              `a\u000db\u007f\u009b2J`,
		"\u202edrowssap\u200b\ufeff":    `\u202edrowssap\u200b\ufeff`,
		"\u2028\U000e0001":              `\u2028\udb40\udc01`,
		"no UTF-8 \xff\x9b":             `no UTF-8 \xff\x9b`,
		"👩‍💻 " + strings.Repeat("x", 9): `👩\u200d💻 ` + strings.Repeat("x", 9),
	} {
		for part := 1; part <= len(text); part++ { // in however many writes it comes
			var out bytes.Buffer
			terminal := &terminal{to: &out}
			for rest := text; rest != ""; {
				n := min(part, len(rest))
				written, err := terminal.Write([]byte(rest[:n]))
				require.NoError(t, err)
				require.Equal(t, n, written)
				rest = rest[n:]
			}
			require.Equal(t, want, out.String())
		}
	}
}

// JSON stays JSON of the same meaning, and nothing of it draws.
func TestTerminal_LeavesJSONWhatItIs(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		value := map[string]string{rapid.String().Draw(rt, "name"): rapid.String().Draw(rt, "value")}
		text, err := json.Marshal(value)
		require.NoError(rt, err)
		var out bytes.Buffer
		_, err = (&terminal{to: &out}).Write(text)
		require.NoError(rt, err)
		var same map[string]string
		require.NoError(rt, json.Unmarshal(out.Bytes(), &same))
		require.Equal(rt, value, same)
		require.Less(rt, strings.IndexFunc(out.String(), drawsOrHides), 0)
	})
}

// draws reports whether a terminal would act on a text.
func draws(text string) bool {
	return strings.ContainsFunc(text, func(r rune) bool {
		return r != '\n' && r != '\t' && (unicode.IsControl(r) || unicode.Is(unicode.Cf, r))
	})
}

// Whatever was pushed or answered, no command lets it draw.
func TestCommands_LetNobodyDrawOnTheTerminal(t *testing.T) {
	t.Parallel()
	const evil = "9\u001b[2J\u001b]0;title\u0007\u202e\u009b"
	s := serve(t)
	departments, err := json.Marshal([]map[string]string{{"orgCode": "1", "orgName": "总部"}, {"orgCode": evil, "orgName": evil, "parentCode": "1"}})
	require.NoError(t, err)
	require.NoError(t, s.pushFile(t, "full", "", "d.json", string(departments)).err)
	require.NoError(t, s.push(t, "full", write(t, "d.json", string(departments)), "--tenant", evil, "--instance", evil).err)
	hostile := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(map[string]string{"resultCode": evil, "resultMsg": evil})
	}))
	t.Cleanup(hostile.Close)
	pushes := listed[struct{ ID string }](t, s, "/pushes")
	require.Len(t, pushes, 2)
	for _, args := range [][]string{
		{"journal"}, {"journal", pushes[0].ID}, {"journal", pushes[1].ID}, {"status"}, {"status", "--json"}, {"holds", "list"},
		{"restore", "--dry-run", "--at", "2020-01-01T00:00:00Z", "--tenant", evil},
	} {
		r := s.operate(t, args...)
		require.False(t, draws(r.out+r.errOut), "%q: %q %q", args, r.out, r.errOut)
	}
	for _, args := range [][]string{
		{"push", "full", write(t, "e.json", string(departments)), "--tenant", evil, "--url", hostile.URL, "--key-file", write(t, "k", "some-key")},
		{"push", "full", write(t, "e.json", string(departments)), "--tenant", evil, "--url", hostile.URL, "--dry-run"},
		{"simulate", "--url", hostile.URL, "--key-file", write(t, "k", "some-key")},
	} {
		r := run(t, nil, args...)
		require.False(t, draws(r.out+r.errOut), "%q: %q %q", args, r.out, r.errOut)
	}
	require.Contains(t, s.operate(t, "journal", pushes[1].ID).out, `9\u001b[2J`, "it is shown")
}
