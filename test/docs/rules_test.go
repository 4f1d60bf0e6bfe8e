package docs

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// The rules by which the documents are read, so that a document that is wrong
// cannot pass.

func TestStepsAreRead(t *testing.T) {
	t.Parallel()
	text := "x\n```console\n$ one \\\n  more\nout\n$ two\n[exit code 3]\n```\n\n```json\n{}\n```\n\n```sh\nthree\nfour\n```\n\n```json\n[]\n```\n"
	require.Equal(t, []step{
		{command: "one \\\n  more", output: []string{"out"}, line: 3},
		{command: "two", json: "{}\n", code: 3, line: 6},
		{command: "three\nfour\n", output: []string{"…"}, line: 15},
	}, stepsOf(text))
}

func TestOutputIsCompared(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		shown  []string
		output string
		want   bool
	}{
		{nil, "", true},
		{nil, "x\n", false},
		{[]string{"a", "b"}, "a\nb\n", true},
		{[]string{"a", "b"}, "a\nb", true},
		{[]string{"a"}, "a\nb\n", false},
		{[]string{"a", "…"}, "a\n", true},
		{[]string{"a", "…"}, "a\nb\nc\n", true},
		{[]string{"…", "c"}, "a\nb\nc\n", true},
		{[]string{"…", "c"}, "a\nb\n", false},
		{[]string{"a … c"}, "a b c\n", true},
		{[]string{"a … c"}, "a\nc\n", false},
		{[]string{"a.c"}, "abc\n", false},
	} {
		require.Equal(t, c.want, matches(c.shown, c.output), "%q, %q", c.shown, c.output)
	}
}

func TestJSONIsCompared(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		shown, answer string
		want          bool
	}{
		{`{"a": 1, "b": [1, 2]}`, `{"b":[1,2],"a":1}`, true},
		{`{"a": "…"}`, `{"a":{"x":1}}`, true},
		{`{"a": "push … held"}`, `{"a":"push 1 held"}`, true},
		{`{"a": "push … held"}`, `{"a":"push 1 gone"}`, false},
		{`{"a": 1}`, `{"a":1,"b":2}`, false},
		{`{"a": 1, "b": 2}`, `{"a":1}`, false},
		{`{"a": 1}`, `{"a":2}`, false},
		{`[1, "…"]`, `[1,2,3]`, true},
		{`[1, "…"]`, `[2]`, false},
		{`[1, "…"]`, `[]`, false},
		{`[1]`, `[1,2]`, false},
		{`{}`, `[]`, false},
		{`{}`, `x`, false},
	} {
		require.Equal(t, c.want, sameJSON(c.shown, c.answer) == nil, "%s, %s", c.shown, c.answer)
	}
}
