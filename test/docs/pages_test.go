package docs

import (
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"github.com/gin-gonic/gin"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"github.com/openkoo/connector/admin"
	"github.com/openkoo/connector/directory"
	"github.com/openkoo/connector/fanout"
	"github.com/openkoo/connector/restore"
	"github.com/openkoo/connector/storage"
)

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, path))
	require.NoError(t, err)
	return string(text)
}

// instances stands for those that are never asked for.
type instances struct{ reader }

type reader = admin.Instances

func TestEveryRouteIsDocumentedWithAnExample(t *testing.T) {
	t.Parallel()
	api, err := admin.New(admin.Options{Token: "a-token", Gatherer: prometheus.NewRegistry(), Instances: instances{}})
	require.NoError(t, err)
	gin.SetMode(gin.ReleaseMode)
	router := gin.New()
	api.Register(router)
	parameter := regexp.MustCompile(`:(\w+)`)
	var served []string
	for _, route := range router.Routes() {
		if route.Method == http.MethodHead {
			continue // it goes with GET
		}
		served = append(served, route.Method+" "+parameter.ReplaceAllString(route.Path, "{$1}"))
	}
	text := read(t, "docs/api.md")
	var documented []string
	for _, section := range strings.Split(text, "\n## ")[1:] {
		title, body, _ := strings.Cut(section, "\n")
		if method, _, ok := strings.Cut(title, " "); ok && (method == http.MethodGet || method == http.MethodPost) {
			documented = append(documented, title)
			require.Contains(t, body, "```console\n$ ", "%s has an example", title)
		}
	}
	require.ElementsMatch(t, served, documented)
}

// membersOf lists the JSON members of a type and of what it holds.
func membersOf(of reflect.Type, found map[string]bool) {
	switch of.Kind() { //nolint:exhaustive // the others hold nothing
	case reflect.Pointer, reflect.Slice, reflect.Map:
		membersOf(of.Elem(), found)
	case reflect.Struct:
		for field := range of.Fields() {
			name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
			if !field.IsExported() || name == "-" {
				continue
			}
			if name != "" {
				found[name] = true
			}
			membersOf(field.Type, found)
		}
	}
}

func TestEveryMemberOfAnAnswerIsDocumented(t *testing.T) {
	t.Parallel()
	found := make(map[string]bool)
	for _, answer := range []any{
		admin.SyncSummary{}, storage.Record{}, directory.Decision{}, storage.Slot{}, fanout.Status{}, storage.Resync{}, restore.Outcome{},
		directory.Tenant{}, directory.Department{}, directory.User{}, directory.InstanceEvent{}, directory.Application{},
	} {
		membersOf(reflect.TypeOf(answer), found)
	}
	require.Greater(t, len(found), 80)
	page := read(t, "docs/api.md")
	var missing []string
	for name := range found {
		if !strings.Contains(page, "`"+name+"`") && !strings.Contains(page, `"`+name+`"`) {
			missing = append(missing, name)
		}
	}
	require.Empty(t, missing, "docs/api.md does not say what these are")
}

func TestEveryDependencyHasItsLine(t *testing.T) {
	t.Parallel()
	direct := regexp.MustCompile(`(?m)^\t(\S+) v\S+$`)
	page := read(t, "docs/dependencies.md")
	lines := regexp.MustCompile("(?m)^\\| `(\\S+)` \\| [^|]{3,} \\| [^|]{3,} \\| [^|]*(?:MIT|BSD|Apache|MPL|ISC)[^|]* \\|$").FindAllStringSubmatch(page, -1)
	var documented, required []string
	for _, line := range lines {
		documented = append(documented, line[1])
	}
	for _, module := range direct.FindAllStringSubmatch(read(t, "go.mod"), -1) {
		required = append(required, module[1])
	}
	require.NotEmpty(t, required)
	require.ElementsMatch(t, required, documented, "go.mod and docs/dependencies.md: what for, why this one, licence")
}

var (
	named  = regexp.MustCompile("`([a-zA-Z0-9/]+): ((?:Test|Fuzz)\\w+)(?:/([^`]+))?`")
	tested = regexp.MustCompile(`(?m)^func ((?:Test|Fuzz)\w+)\(`)
)

// testsOf lists the tests of the tree as "package: Name".
func testsOf(t *testing.T) (tests map[string]bool, sources string) {
	t.Helper()
	tests = make(map[string]bool)
	var all strings.Builder
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || !strings.HasSuffix(path, ".go") {
			if err == nil && entry.IsDir() && (entry.Name() == "node_modules" || entry.Name() == ".git") {
				return fs.SkipDir
			}
			return err
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		all.Write(text)
		if !strings.HasSuffix(path, "_test.go") {
			return nil
		}
		dir, err := filepath.Rel(root, filepath.Dir(path))
		if err != nil {
			return err
		}
		for _, name := range tested.FindAllStringSubmatch(string(text), -1) {
			tests[filepath.ToSlash(dir)+": "+name[1]] = true
		}
		return nil
	})
	require.NoError(t, err)
	return tests, all.String()
}

func TestEveryPromiseNamesATestThatIsThere(t *testing.T) {
	t.Parallel()
	tests, sources := testsOf(t)
	for line := range strings.Lines(read(t, "docs/promises.md")) {
		if !strings.HasPrefix(line, "|") || strings.HasPrefix(line, "| promise") || strings.HasPrefix(line, "|---") {
			continue
		}
		proofs := named.FindAllStringSubmatch(line, -1)
		require.NotEmpty(t, proofs, "a promise without a test: %s", line)
		for _, proof := range proofs {
			require.True(t, tests[proof[1]+": "+proof[2]], "no %s in %s", proof[2], proof[1])
			if cases := strings.Split(proof[3], "/"); proof[3] != "" {
				require.Contains(t, sources, `"`+cases[len(cases)-1]+`"`, "the case of %s", proof[0])
			}
		}
	}
}

var link = regexp.MustCompile(`\]\(([^)]+)\)`)

var (
	heading    = regexp.MustCompile(`(?m)^#+ (.*)$`)
	unanchored = regexp.MustCompile(`[^\p{L}\p{N}_ -]`)
)

// anchors are what links to a page's headings are made of, as GitHub has them.
func anchors(page string) []string {
	var found []string
	for _, title := range heading.FindAllStringSubmatch(page, -1) {
		found = append(found, strings.ReplaceAll(unanchored.ReplaceAllString(strings.ToLower(title[1]), ""), " ", "-"))
	}
	return found
}

func TestLinksLeadSomewhere(t *testing.T) {
	t.Parallel()
	for _, path := range documents(t) {
		text, err := os.ReadFile(path)
		require.NoError(t, err)
		for _, found := range link.FindAllStringSubmatch(string(text), -1) {
			u, err := url.Parse(found[1])
			require.NoError(t, err)
			if u.Scheme != "" {
				continue // leads out
			}
			to := filepath.Join(filepath.Dir(path), u.Path)
			if u.Path == "" {
				to = path
			}
			content, err := os.ReadFile(to)
			require.NoError(t, err, "%s links to %s", path, found[1])
			if u.Fragment != "" {
				require.Contains(t, anchors(string(content)), u.Fragment, "%s links to %s", path, found[1])
			}
		}
	}
}

// The twins show the same commands and lead to the same places.
func TestTheTwinsAreTwins(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"README", "docs/marketplace"} {
		english, chinese := read(t, name+".md"), read(t, name+".zh-CN.md")
		commands := func(text string) (all []string) {
			for _, s := range stepsOf(text) {
				all = append(all, s.command)
			}
			return all
		}
		require.NotEmpty(t, commands(english))
		require.Equal(t, commands(english), commands(chinese))
		require.Equal(t, strings.Count(english, "\n## "), strings.Count(chinese, "\n## "))
		require.Equal(t, strings.Count(english, "\n| "), strings.Count(chinese, "\n| "))
		links := func(text string) (all []string) {
			for _, l := range link.FindAllStringSubmatch(text, -1) {
				if target := strings.Replace(l[1], ".zh-CN", "", 1); target != filepath.Base(name)+".md" {
					all = append(all, target)
				}
			}
			return all
		}
		require.ElementsMatch(t, links(english), links(chinese))
	}
}
