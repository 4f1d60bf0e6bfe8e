package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/spf13/cobra"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/openkoo/connector/config"
	"github.com/openkoo/connector/test/program"
)

var update = flag.Bool("update", false, "write the golden files anew")

func TestMain(m *testing.M) {
	code := m.Run()
	program.Remove()
	if dir, err := sharedKeys(); err == nil {
		_ = os.RemoveAll(dir)
	}
	http.DefaultClient.CloseIdleConnections()
	if code == 0 {
		if err := goleak.Find(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	os.Exit(code)
}

// result is what a command did.
type result struct {
	out, errOut string
	err         error
}

// code is the exit code that main would end with.
func (r result) code() int {
	if code, ok := errors.AsType[exitError](r.err); ok {
		return int(code)
	}
	if r.err != nil {
		return 1
	}
	return 0
}

// run runs a command line in an environment of its own.
func run(t *testing.T, environ []string, args ...string) result {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	return runIn(ctx, environ, args...)
}

func runIn(ctx context.Context, environ []string, args ...string) result {
	root := rootCommand(environ)
	var out, errOut bytes.Buffer
	root.SetOut(&out)
	root.SetErr(&errOut)
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	return result{out.String(), errOut.String(), err}
}

// lockedBuffer gathers what a running command prints.
type lockedBuffer struct {
	mu    sync.Mutex
	text  strings.Builder
	grown chan struct{}
}

func newLockedBuffer() *lockedBuffer { return &lockedBuffer{grown: make(chan struct{})} }

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	close(b.grown)
	b.grown = make(chan struct{})
	return b.text.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

// await waits until a pattern was printed and returns its first group.
func (b *lockedBuffer) await(t *testing.T, pattern string, ended <-chan struct{}) string {
	t.Helper()
	want := regexp.MustCompile(pattern)
	deadline := time.After(3 * time.Minute)
	for {
		b.mu.Lock()
		grown, text := b.grown, b.text.String()
		b.mu.Unlock()
		if match := want.FindStringSubmatch(text); match != nil {
			return match[len(match)-1]
		}
		select {
		case <-grown:
		case <-ended:
			require.Fail(t, "ended early", "no %s in:\n%s", pattern, b.String())
		case <-deadline:
			require.Fail(t, "too late", "no %s in:\n%s", pattern, b.String())
		}
	}
}

// server is `orgsync serve`, in this process.
type server struct {
	base, dir string
	out       *lockedBuffer
	err       error
	stop      func()
}

// sharedKeys is a data directory whose keys are made once: RSA keys take long.
var sharedKeys = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "orgsync-keys-")
	if err != nil {
		return "", err
	}
	c := &config.Config{DataDir: dir}
	_, err = c.EnsureKeys()
	return dir, err
})

// dataDir makes a data directory with keys.
func dataDir(t *testing.T) string {
	t.Helper()
	keys, err := sharedKeys()
	require.NoError(t, err)
	dir := filepath.Join(t.TempDir(), "data")
	require.NoError(t, os.CopyFS(dir, os.DirFS(keys)))
	copied, err := os.ReadDir(dir)
	require.NoError(t, err)
	for _, file := range copied {
		require.NoError(t, os.Chmod(filepath.Join(dir, file.Name()), 0o600)) // as they are made
	}
	return dir
}

func serve(t *testing.T, args ...string) *server {
	t.Helper()
	s := &server{dir: dataDir(t), out: newLockedBuffer()}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	root := rootCommand(nil)
	root.SetOut(s.out)
	root.SetErr(s.out)
	root.SetArgs(append([]string{"serve", "--listen", "127.0.0.1:0", "--data-dir", s.dir}, args...))
	go func() {
		defer close(ended)
		s.err = root.ExecuteContext(ctx)
	}()
	s.stop = func() { cancel(); <-ended }
	t.Cleanup(func() {
		s.stop()
		require.NoError(t, s.err, s.out.String())
	})
	s.base = s.out.await(t, `API +(http://\S+)/api/v1`, ended)
	return s
}

// push runs a push against the server.
func (s *server) push(t *testing.T, args ...string) result {
	t.Helper()
	return run(t, nil, append([]string{"push", "--url", s.base + "/saasproduce", "--data-dir", s.dir}, args...)...)
}

// operate runs a command of the API against the server.
func (s *server) operate(t *testing.T, args ...string) result {
	t.Helper()
	return run(t, nil, append(args, "--url", s.base, "--data-dir", s.dir)...)
}

func write(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	return path
}

func TestHelp(t *testing.T) {
	t.Parallel()
	var visit func(cmd *cobra.Command, path []string)
	visit = func(cmd *cobra.Command, path []string) {
		if cmd.Name() == "completion" || cmd.Name() == "help" {
			return // cobra's own
		}
		t.Run(strings.Join(append([]string{"orgsync"}, path...), " "), func(t *testing.T) {
			t.Parallel()
			r := run(t, nil, append(path, "--help")...)
			require.NoError(t, r.err)
			golden := filepath.Join("testdata", "help", strings.Join(append([]string{"orgsync"}, path...), "-")+".txt")
			if *update {
				require.NoError(t, os.MkdirAll(filepath.Dir(golden), 0o755))
				require.NoError(t, os.WriteFile(golden, []byte(r.out), 0o600))
			}
			want, err := os.ReadFile(golden)
			require.NoError(t, err)
			require.Equal(t, string(want), r.out, "make it anew with `go test ./cmd/orgsync -run TestHelp -update`")
			for line := range strings.Lines(r.out) {
				require.LessOrEqual(t, len([]rune(line)), 130, "fits a terminal: %s", line)
			}
		})
		for _, sub := range cmd.Commands() {
			visit(sub, append(append([]string{}, path...), sub.Name()))
		}
	}
	visit(rootCommand(nil), nil)
}

func TestVersionIsThatOfTheBuild(t *testing.T) {
	t.Parallel()
	r := run(t, nil, "--version")
	require.NoError(t, r.err)
	require.Regexp(t, `^orgsync \S.* go1\.\d+`, r.out)
}

// What a person gets wrong is answered with what to do next.
func TestExpectedFailures(t *testing.T) {
	t.Parallel()
	dir, nowhere := dataDir(t), write(t, "file", "")
	refused := closedPort
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = taken.Close() })
	running := serve(t)
	other := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(other.Close)
	broken := write(t, "orgsync.yaml", "listen: [\n")
	faulty := write(t, "orgsync.yaml", "lisen: 1\nlog: {level: loud}\ntargets: [{name: a, type: scim, url: ftp://x, timeout: -1s}]\n")
	departments := write(t, "d.csv", "orgCode,orgName,parentCode\n1,总部,\n")
	wrong := write(t, "wrong", "a-wrong-secret\n")
	tenant := []string{"--tenant", "t1"}

	for _, c := range []struct {
		name string
		args []string
		want []string
	}{
		{"unknown command", []string{"sevre"}, []string{`orgsync has no command "sevre"; did you mean serve?; see ` + "`orgsync --help`"}},
		{"unknown push", []string{"push", "userz"}, []string{`orgsync push has no command "userz"; did you mean users?`}},
		{"unknown hold", []string{"holds", "aprove", "x"}, []string{`did you mean approve?`}},
		{"unknown flag", []string{"serve", "--lisen", ":1"}, []string{"unknown flag: --lisen; see `orgsync serve --help`"}},
		{"too many arguments", []string{"serve", "now"}, []string{`orgsync serve takes no argument, got "now"; see ` + "`orgsync serve --help`"}},
		{"no file named", append([]string{"push", "full"}, tenant...), []string{"want one FILE, got 0: orgsync push full FILE [flags]; see `orgsync push full --help`"}},
		{"no push named", []string{"holds", "approve"}, []string{"want one PUSH (or --target), got 0: orgsync holds approve [PUSH]"}},
		{"no tenant", []string{"push", "full", departments}, []string{"--tenant is missing"}},
		{"no app nor tenant", []string{"push", "users", departments}, []string{"--tenant is missing", "--app is missing"}},
		{"wrong push flag", append([]string{"push", "org", "--flag", "cancel", departments}, tenant...), []string{`--flag "cancel": want add, modify, delete`}},
		{"missing file", append([]string{"push", "full", "none.csv"}, tenant...), []string{"read none.csv: no such file or directory"}},
		{"directory", append([]string{"push", "full", t.TempDir()}, tenant...), []string{"want a file of at most 128 MiB"}},
		{"missing public key", append([]string{"push", "app", "--public-key", "none.pem", write(t, "a.json", `{"appId":"a","clientId":"c","clientSecret":"s"}`)}, tenant...), []string{"--public-key: open none.pem"}},
		{"no access key", append([]string{"push", "full", departments, "--url", refused, "--data-dir", t.TempDir()}, tenant...), []string{"access key: ", "give it with --key-file or ORGSYNC_KIT_ACCESS_KEYS, or make one with `orgsync keys`"}},
		{"no server", append([]string{"push", "full", departments, "--url", refused + "/saasproduce", "--data-dir", dir}, tenant...), []string{"stopped after 0 of 1 calls: allOrgSync: ", "connection refused", "sending the file again does no harm"}},
		{"not a production address", append([]string{"push", "full", departments, "--url", other.URL, "--data-dir", dir}, tenant...), []string{"HTTP 404, and no resultCode in the answer; is " + other.URL + " a production address?"}},
		{"address without a host", append([]string{"push", "full", departments, "--url", "localhost:8080", "--data-dir", dir}, tenant...), []string{"want http:// or https:// and a host"}},
		{"wrong key", append([]string{"push", "full", departments, "--url", running.base + "/saasproduce", "--key-file", wrong}, tenant...), []string{"1 of 1 calls were refused; stopped: the other calls would be refused as well"}},
		{"no API", []string{"status", "--url", refused, "--data-dir", dir}, []string{"no connector answers at " + refused + ": ", "connection refused", "start one with `orgsync serve`, or give --url"}},
		{"not an orgsync", []string{"status", "--url", other.URL, "--data-dir", dir}, []string{"/sync-status: HTTP 404; is this an orgsync?"}},
		{"no token", []string{"status", "--url", running.base, "--data-dir", t.TempDir()}, []string{"admin token: ", "--token-file or ORGSYNC_ADMIN_TOKEN, or name the connector's directory with --data-dir"}},
		{"wrong token", []string{"status", "--url", running.base, "--token-file", wrong}, []string{running.base + " does not take the admin token; give the right one with --token-file or ORGSYNC_ADMIN_TOKEN"}},
		{"bad dataset", []string{"status", "--url", running.base, "--data-dir", running.dir, "--dataset", "production"}, []string{`Bad Request: dataset: "production": want prod, test`}},
		{"no push to go back to", []string{"restore"}, []string{"want --push"}},
		{"unknown push to go back to", []string{"restore", "--push", "none", "--url", running.base, "--data-dir", running.dir}, []string{"Not Found: push none"}},
		{"unknown hold to decide", []string{"holds", "approve", "none", "--url", running.base, "--data-dir", running.dir}, []string{"Not Found: ", "`orgsync holds list` shows what can be decided"}},
		{"port taken", []string{"serve", "--listen", taken.Addr().String(), "--data-dir", dir}, []string{"listen on " + taken.Addr().String() + ": bind: address already in use; choose another address with --listen or ORGSYNC_LISTEN"}},
		{"data directory in use", []string{"serve", "--listen", "127.0.0.1:0", "--data-dir", running.dir}, []string{"data directory " + running.dir + " is in use by another orgsync process; stop it, or set ORGSYNC_DATA_DIR to another directory"}},
		{"data directory that cannot be written", []string{"serve", "--listen", "127.0.0.1:0", "--data-dir", nowhere + "/data"}, []string{"make data directory: ", "set ORGSYNC_DATA_DIR to one that can be written"}},
		{"missing configuration", []string{"serve", "--config", "none.yaml"}, []string{"read configuration: ", "--config or ORGSYNC_CONFIG"}},
		{"broken YAML", []string{"serve", "--config", broken}, []string{broken + ": yaml: line"}},
		{"every configuration fault at once", []string{"serve", "--config", faulty}, []string{
			"lisen: no such setting; did you mean listen?", `log.level: "loud": want debug, info, warn, error`,
			`targets[0].url: "ftp://x": want http:// or https:// and a host`, "targets[0].timeout: less than zero", "docs/configuration.md",
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			r := run(t, nil, c.args...)
			require.Equal(t, 1, r.code())
			for _, want := range c.want {
				require.ErrorContains(t, r.err, want)
			}
			require.NotContains(t, r.err.Error(), "a-wrong-secret")
			require.NotContains(t, r.out+r.errOut, "Usage:", "an error is not buried under the help")
		})
	}
}

// closedPort is where nobody listens. A port that was free a moment ago may be
// another test's.
const closedPort = "http://127.0.0.1:1"

func TestAPortThatIsTakenMakesNoKeys(t *testing.T) {
	t.Parallel()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = taken.Close() })
	dir := filepath.Join(t.TempDir(), "data")
	require.Error(t, run(t, nil, "serve", "--listen", taken.Addr().String(), "--data-dir", dir).err)
	require.NoDirExists(t, dir, "keys are told by the process that made them")
}

func TestServeTellsWhereEverythingIsAndShowsNoSecret(t *testing.T) {
	t.Parallel()
	s := serve(t)
	text := s.out.String()
	require.Contains(t, text, "Production address  "+s.base+"/saasproduce")
	require.Contains(t, text, "No targets are configured")
	for _, name := range []string{config.AccessKeyFile, config.AdminTokenFile, config.EncryptionKeyFile} {
		secret, err := os.ReadFile(filepath.Join(s.dir, name))
		require.NoError(t, err)
		require.NotContains(t, text, strings.TrimSpace(string(secret)))
	}
}

func TestKeysShowWhatTheConsoleWants(t *testing.T) {
	t.Parallel()
	dir := dataDir(t)
	r := run(t, nil, "keys", "--data-dir", dir)
	require.NoError(t, r.err)
	key, err := os.ReadFile(filepath.Join(dir, config.AccessKeyFile))
	require.NoError(t, err)
	require.Contains(t, r.out, "file: "+filepath.Join(dir, config.AccessKeyFile))
	require.NotContains(t, r.out, strings.TrimSpace(string(key)))
	require.Regexp(t, `(?m)^MIIB[A-Za-z0-9+/]{500,}={0,2}$`, r.out, "Base64 of SPKI on one line")
	require.Contains(t, run(t, nil, "keys", "--data-dir", dir, "--show").out, "value: "+strings.TrimSpace(string(key)))

	r = run(t, []string{"ORGSYNC_KIT_ACCESS_KEYS=a-configured-key"}, "keys", "--data-dir", dir)
	require.NoError(t, r.err)
	require.Contains(t, r.out, "from the configuration (kitAccessKeys)")
	require.NotContains(t, r.out, "a-configured-key")
}

func TestLocalAddress(t *testing.T) {
	t.Parallel()
	for listen, want := range map[string]string{
		":8080": "http://localhost:8080", "0.0.0.0:1": "http://localhost:1", "[::]:1": "http://localhost:1",
		"127.0.0.1:9": "http://127.0.0.1:9", "[::1]:9": "http://[::1]:9", "host:9": "http://host:9",
	} {
		require.Equal(t, want, localAddress(listen), listen)
	}
}
