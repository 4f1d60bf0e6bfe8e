package config

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

var update = flag.Bool("update", false, "write docs/configuration.md anew")

// The marks between which the page is made from the tags; what stands outside
// is written by hand.
const (
	begin = "<!-- made by `go test ./config -update`: begin -->\n"
	end   = "<!-- made by `go test ./config -update`: end -->\n"
)

func TestTheReferencePageIsMadeFromTheTags(t *testing.T) {
	t.Parallel()
	path := filepath.Join("..", "docs", "configuration.md")
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	before, rest, ok := strings.Cut(string(text), begin)
	require.True(t, ok, "no %q in %s", begin, path)
	_, after, ok := strings.Cut(rest, end)
	require.True(t, ok, "no %q in %s", end, path)
	want := before + begin + reference() + end + after
	if *update {
		require.NoError(t, os.WriteFile(path, []byte(want), 0o600))
		return
	}
	require.Equal(t, want, string(text), "make it anew with `go test ./config -update`")
}

func TestEverySettingIsDescribed(t *testing.T) {
	t.Parallel()
	for _, root := range []reflect.Type{reflect.TypeFor[Config](), reflect.TypeFor[Target]()} {
		for _, f := range fields(root, "") {
			if f.path == "targets" {
				continue // its members are described one by one
			}
			require.Regexp(t, `^\S.*\.$`, f.desc, "%s: a sentence", f.path)
			require.NotContains(t, f.desc, "|", "%s: would end the cell", f.path)
		}
	}
}

// reference is the page's tables.
func reference() string {
	var b strings.Builder
	b.WriteString("\n## Settings\n\n| YAML | environment | default | |\n|---|---|---|---|\n")
	for _, f := range fields(reflect.TypeFor[Config](), "") {
		if f.path == "targets" {
			continue
		}
		env, def := "`"+Prefix+f.env+"`", "`"+f.def+"`"
		if f.def == "" {
			def = ""
		}
		if f.secret() {
			env += ", `…" + fileSuffix + "`"
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s%s |\n", f.path, env, def, f.desc, sort(&f))
	}
	b.WriteString("\n## Targets\n\nEach entry of `targets` in YAML; the environment has no names for them.\n\n| YAML | |\n|---|---|\n")
	for _, f := range fields(reflect.TypeFor[Target](), "") {
		fmt.Fprintf(&b, "| `%s` | %s%s |\n", f.path, f.desc, sort(&f))
	}
	return b.String()
}

// sort says what a value may look like where that is not plain.
func sort(f *field) string {
	switch {
	case f.secret() && f.kind.Kind() == reflect.Slice:
		return " Secret; a list."
	case f.secret():
		return " Secret."
	case f.kind.Kind() == reflect.Slice:
		return " A list."
	default:
		return ""
	}
}
