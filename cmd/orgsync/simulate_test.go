package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/openkoo/connector/config"
	"github.com/openkoo/connector/marketplace/simulate"
)

// simulate plays against a server of this process.
func (s *server) simulate(t *testing.T, args ...string) result {
	t.Helper()
	return run(t, nil, append([]string{"simulate", "--url", s.base + "/saasproduce", "--data-dir", s.dir}, args...)...)
}

func TestSimulateJudgesAndReports(t *testing.T) {
	t.Parallel()
	s := serve(t)
	junit, structured := filepath.Join(t.TempDir(), "junit.xml"), filepath.Join(t.TempDir(), "out.json")
	r := s.simulate(t, "--only", "kit,life", "--days", "1", "--departments", "5", "--users", "5", "--junit", junit, "--json", structured)
	require.NoError(t, r.err, r.out)
	require.Regexp(t, `(\d+) of \d+ cases passed, 0 failed, 0 skipped: \d+ calls with debugging data \(testFlag 1\)`, r.out)
	require.Empty(t, r.errOut, "no bar where nobody sees it")
	text, err := os.ReadFile(structured)
	require.NoError(t, err)
	var report struct{ Passed, Failed, Skipped int }
	require.NoError(t, json.Unmarshal(text, &report))
	require.Greater(t, report.Passed, 100)
	require.Zero(t, report.Failed+report.Skipped)
	text, err = os.ReadFile(junit)
	require.NoError(t, err)
	require.Contains(t, string(text), `<testcase classname="kit-v2" name="kit-v2-01 An enterprise is added"`)

	key, err := os.ReadFile(filepath.Join(s.dir, config.AccessKeyFile))
	require.NoError(t, err)
	for _, shown := range []string{r.out, string(text)} {
		require.NotContains(t, shown, string(key[:len(key)-1]))
	}
	require.Empty(t, listedTenants(t, s), "what was made is debugging data, and production data is as it was")
}

// listedTenants are the tenants of production data.
func listedTenants(t *testing.T, s *server) []json.RawMessage {
	t.Helper()
	return listed[json.RawMessage](t, s, "/tenants")
}

func TestSimulateFailsWithWhatIsWrong(t *testing.T) {
	t.Parallel()
	s := serve(t)
	r := s.simulate(t, "--only", "kit-v2-input,kit-v1-01", "--key-file", write(t, "key", "another-key\n"))
	require.Equal(t, 1, r.code())
	require.Contains(t, r.out, "FAILED wrong-code")
	require.Contains(t, r.out, "fix       The access key differs (--key-file, --base-key-file)")
	require.Contains(t, r.out, "wrong-code in 2")
	require.Contains(t, r.out, "--json has all of them")
	require.NotContains(t, r.out+r.errOut, "another-key")

	r = s.simulate(t, "--only", "kit-v2-05", "--production")
	require.NoError(t, r.err)
	require.Contains(t, r.errOut, "Warning: --production sends testFlag 0.")
	require.Contains(t, r.out, "production data (testFlag 0)")
}

// What keeps a simulation from running is told apart from what it finds.
func TestASimulationThatCannotRun(t *testing.T) {
	t.Parallel()
	dir, key, refused := dataDir(t), write(t, "key", "some-access-key\n"), closedPort
	for _, c := range []struct {
		name, want string
		args       []string
	}{
		{"nobody listens", "the production address does not answer: " + refused, []string{"--url", refused, "--key-file", key}},
		{"no such case", `--only: no case is called "kit-v3"`, []string{"--only", "kit-v3"}},
		{"no such case to skip", `--skip: no case is called "kit-v3"`, []string{"--skip", "kit-v3", "--list"}},
		{"no such flag", "unknown flag: --just; see `orgsync simulate --help`", []string{"--just", "x"}},
		{"no key", "access key: ", []string{"--data-dir", filepath.Join(t.TempDir(), "none")}},
		{"no base key", "access key: open none", []string{"--data-dir", dir, "--base-key-file", "none"}},
		{"no public key", "--public-key: open none", []string{"--data-dir", dir, "--public-key", "none"}},
		{"no address", "want http:// or https:// and a host", []string{"--data-dir", dir, "--url", "localhost:8080"}},
		{"too long a life", "days: 100000; want 1 to 1000", []string{"--data-dir", dir, "--days", "100000"}},
		{"no configuration", "read configuration: ", []string{"--config", "none.yaml"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			r := run(t, nil, append([]string{"simulate"}, c.args...)...)
			require.Equal(t, 2, r.code())
			require.Contains(t, r.errOut, "Error: ")
			require.Contains(t, r.errOut, c.want)
			require.Empty(t, r.out)
		})
	}
	s := serve(t)
	r := s.simulate(t, "--only", "kit-v2-05", "--junit", filepath.Join(dir, "none", "junit.xml"))
	require.Equal(t, 2, r.code())
	require.Contains(t, r.errOut, "write report: ")
}

func TestTheCasesAreListed(t *testing.T) {
	t.Parallel()
	r := run(t, nil, "simulate", "--list")
	require.NoError(t, r.err)
	for _, c := range simulate.Catalogue() {
		require.Contains(t, r.out, c.ID)
	}
	r = run(t, nil, "simulate", "--list", "--only", "life", "--skip", "v1")
	require.Contains(t, r.out, "life-v2-02")
	require.Contains(t, r.out, "3 cases\n")
}

func TestASimulationThatIsInterruptedShowsHowFarItCame(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body) // else the server does not see the caller hang up
		cancel()
		<-r.Context().Done()
	}))
	defer server.Close()
	r := runIn(ctx, nil, "simulate", "--url", server.URL, "--key-file", write(t, "key", "some-access-key\n"), "--only", "kit-v2-01,base-v2-01")
	require.Equal(t, exitInterrupted, r.code())
	require.Contains(t, r.out, "Skipped, interrupted: kit-v2-01, base-v2-01")
	require.NotContains(t, r.errOut, "Error")
}

// A connector that wants its instances bought knows those that are bought here.
func TestSimulateBuysTheInstanceThatTheKitNeeds(t *testing.T) {
	t.Parallel()
	s := serve(t, "--config", write(t, "orgsync.yaml", "instances:\n  requireKnown: true\n  frontEndUrl: https://app.example.com/{instanceId}\n"))
	r := s.simulate(t, "--only", "v1,v2", "--skip", "license", "--days", "1", "--departments", "3", "--users", "3")
	require.NoError(t, r.err, r.out)
	require.NoError(t, s.simulate(t, "--only", "kit-v2-16").err, "debugging calls come in no order")
	r = s.simulate(t, "--only", "kit-v2-16", "--production")
	require.Equal(t, 1, r.code())
	require.Contains(t, r.out, "got       000003")
	require.Contains(t, r.out, "Give one that is with --instance, or let the base interface be played as well.")
}

// Findings are cut where one cause has many; nothing is lost of them.
func TestManyFindingsAreCutAndCounted(t *testing.T) {
	t.Parallel()
	report := &simulate.Report{Address: "http://isv.example.com/saasproduce"}
	for i := range 20 {
		report.Results = append(report.Results, simulate.Result{
			ID: fmt.Sprintf("kit-v2-%02d", i+1), Title: "A title", Section: "§3", Outcome: simulate.Failed,
			Finding: &simulate.Finding{Kind: simulate.WrongCode, Step: "a step", Expected: "000000", Got: "000005", Remedy: "mend it"},
		})
	}
	report.Failed = len(report.Results)
	var out strings.Builder
	showSimulation(&out, report)
	require.Equal(t, 3, strings.Count(out.String(), "fix       mend it"))
	require.Contains(t, out.String(), "wrong-code in 17 more cases (--json has all of them): kit-v2-04, kit-v2-05, kit-v2-06, kit-v2-07, kit-v2-08, kit-v2-09, kit-v2-10, kit-v2-11 and 9 more\n")
	require.Contains(t, out.String(), "Note: the marketplace calls https:// on port 443 alone.")
	for address, noted := range map[string]bool{"http://localhost:8080": false, "http://127.0.0.1:1/x": false, "http://[::1]:1": false, "https://isv.example.com": false, "http://10.0.0.1": true} {
		out.Reset()
		showSimulation(&out, &simulate.Report{Address: address})
		require.Equal(t, noted, strings.Contains(out.String(), "Note: "), address)
	}
}
