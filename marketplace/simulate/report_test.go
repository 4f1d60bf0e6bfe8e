package simulate_test

import (
	"encoding/json"
	"encoding/xml"
	"flag"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/openkoo/connector/marketplace/simulate"
)

var update = flag.Bool("update", false, "write the list of cases in docs/simulator.md anew")

func ids(cases []simulate.Case) (all []string) {
	for _, c := range cases {
		all = append(all, c.ID)
	}
	return all
}

func TestEveryCaseHasANameOfItsOwn(t *testing.T) {
	t.Parallel()
	seen := make(map[string]bool)
	for _, c := range simulate.Catalogue() {
		require.Regexp(t, `^(kit|base|ondemand|license|life)-v[12](-[a-z]+)?-\d\d$`, c.ID)
		require.False(t, seen[c.ID], c.ID)
		require.NotEmpty(t, c.Title, c.ID)
		require.Regexp(t, `^§\d`, c.Section, c.ID)
		seen[c.ID] = true
	}
}

func TestCasesAreSelectedByPartsOfTheirIDs(t *testing.T) {
	t.Parallel()
	all := simulate.Catalogue()
	pick := func(names ...string) []string {
		cases, err := simulate.Select(all, names)
		require.NoError(t, err)
		return ids(cases)
	}
	require.Equal(t, []string{"kit-v2-04"}, pick("kit-v2-04"))
	require.Equal(t, []string{"life-v2-01", "life-v2-02", "life-v2-03"}, pick("life-v2"))
	require.Equal(t, pick("kit-v2", "base-v1"), pick("base-v1", "kit-v2", "kit-v2-01"), "in the catalogue's order, each once")
	require.Len(t, pick("v1", "v2"), len(all))
	for _, id := range pick("signature") {
		require.Contains(t, id, "-signature-")
	}
	require.NotContains(t, pick(simulate.Default()...), "license-v2-01")
	for _, name := range []string{"kit-v3", "", "kit-", "it-v2", "kit-v2-4"} {
		_, err := simulate.Select(all, []string{"base", name})
		require.ErrorContains(t, err, fmt.Sprintf("no case is called %q; `orgsync simulate --list` shows all", name))
	}
	rest, err := simulate.Without(all, []string{"v1", "license", "ondemand", "life"})
	require.NoError(t, err)
	require.Equal(t, pick("kit-v2", "base-v2"), ids(rest))
	_, err = simulate.Without(all, []string{"nobody"})
	require.ErrorContains(t, err, "no case is called")
}

func TestARunnerWantsAnAddressAndKeys(t *testing.T) {
	t.Parallel()
	good := simulate.Options{Address: "https://isv.example.com/saasproduce", KitKeys: []string{accessKey}}
	for says, change := range map[string]func(*simulate.Options){
		"want http:// or https:// and a host": func(o *simulate.Options) { o.Address = "isv.example.com" },
		"access key: missing":                 func(o *simulate.Options) { o.KitKeys = nil },
		"access key: missing ":                func(o *simulate.Options) { o.BaseKeys = []string{""} },
		"days: 1001; want 1 to 1000":          func(o *simulate.Options) { o.Life.Days = 1001 },
		"departments: -1; want 1 to 100000":   func(o *simulate.Options) { o.Life.Departments = -1 },
		"users: 100001; want 1 to 100000":     func(o *simulate.Options) { o.Life.Users = 100_001 },
	} {
		options := good
		change(&options)
		_, err := simulate.New(simulate.Catalogue(), options)
		require.ErrorContains(t, err, strings.TrimSpace(says))
	}
	_, err := simulate.New(nil, good)
	require.NoError(t, err)
}

// Whatever a server sends, both reports can be read.
func TestReportsAreReadable(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case strings.HasSuffix(r.URL.Path, "/tenantSync"):
			fmt.Fprint(w, "\x00\x1b[2J]]> & \xff <b password=\"x\">") // nothing that XML or a terminal could take
		default:
			w.Header().Set("Content-Type", "application/json")
			fmt.Fprintf(w, `{"resultCode":"000005","resultMsg":"key %s","info":[{"appInfo":{"password":"hunter2\"x"}}]}`, "is "+accessKey)
		}
	}))
	t.Cleanup(server.Close)
	report := run(t, simulate.Options{Address: server.URL, KitKeys: []string{accessKey}}, "kit-v2-01", "kit-v2-06", "base-v1-20")
	require.Equal(t, map[string]simulate.Kind{"kit-v2-01": simulate.NotJSON, "base-v1-20": simulate.LeaksKey}, failed(report))

	var junit, structured strings.Builder
	require.NoError(t, report.JUnit(&junit))
	require.NoError(t, report.JSON(&structured))
	for _, text := range []string{junit.String(), structured.String()} {
		require.NotContains(t, text, accessKey)
		require.NotContains(t, text, "hunter2")
	}
	var suites struct {
		Tests    int `xml:"tests,attr"`
		Failures int `xml:"failures,attr"`
		Skipped  int `xml:"skipped,attr"`
		Suites   []struct {
			Name  string `xml:"name,attr"`
			Cases []struct {
				Name    string `xml:"name,attr"`
				Failure *struct {
					Type string `xml:"type,attr"`
					Text string `xml:",chardata"`
				} `xml:"failure"`
				Skipped *struct{} `xml:"skipped"`
			} `xml:"testcase"`
		} `xml:"testsuite"`
	}
	require.NoError(t, xml.Unmarshal([]byte(junit.String()), &suites))
	require.Equal(t, []int{3, 2, 1}, []int{suites.Tests, suites.Failures, suites.Skipped})
	require.Len(t, suites.Suites, 2)
	require.Equal(t, "kit-v2", suites.Suites[0].Name)
	require.Equal(t, "not-json", suites.Suites[0].Cases[0].Failure.Type)
	require.Contains(t, suites.Suites[0].Cases[0].Failure.Text, "fix ")
	require.NotNil(t, suites.Suites[0].Cases[1].Skipped)

	require.NoError(t, json.Unmarshal([]byte(structured.String()), &struct{ Results *[]struct{ ID string } }{}))
	require.Contains(t, structured.String(), `"kind": "leaks-key"`)
}

const (
	listBegins = "<!-- cases -->\n"
	listEnds   = "<!-- end of cases -->\n"
)

// The list of cases in the documentation is made of the cases.
func TestTheDocumentedCasesAreThoseThatArePlayed(t *testing.T) {
	t.Parallel()
	const path = "../../docs/simulator.md"
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	page := string(text)
	begin, end := strings.Index(page, listBegins)+len(listBegins), strings.Index(page, listEnds)
	require.GreaterOrEqual(t, end, begin)
	var list strings.Builder
	list.WriteString("| case | what happens | spec |\n|---|---|---|\n")
	for _, c := range simulate.Catalogue() {
		fmt.Fprintf(&list, "| `%s` | %s | %s |\n", c.ID, regexp.MustCompile(`[|<>\\]`).ReplaceAllString(c.Title, `\$0`), c.Section)
	}
	if *update {
		require.NoError(t, os.WriteFile(path, []byte(page[:begin]+list.String()+page[end:]), 0o600))
		return
	}
	require.Equal(t, list.String(), page[begin:end], "make it anew with `go test ./marketplace/simulate -run Documented -update`")
	for _, kind := range simulate.Kinds() {
		require.Contains(t, page, "`"+string(kind)+"`", "the table of findings")
	}
}
