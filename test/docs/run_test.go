package docs

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/openkoo/connector/target/scim/scimserver"
	"github.com/openkoo/connector/test/peers/port"
	"github.com/openkoo/connector/test/program"
)

// notRun are commands of the documentation that the test does not run, with
// the reason.
var notRun = map[string]string{
	"make test": "is what runs this test",
	"ORGSYNC_TEST_MONGO_URI='mongodb://…' go test ./storage/mongo/":                                               "wants the reader's own server; make test runs the suite against one of its own",
	"ORGSYNC_BENCH_MONGO_URI='mongodb://…' go test -run '^$' -bench FullPushMongo -benchtime 1x ./storage/mongo/": "wants the reader's own server",
	"orgsync migrate --from data --to-mongo mongodb://user:password@host/":                                        "needs a MongoDB; cmd/orgsync: TestADirectoryMovesIntoMongoAndBack runs it",
	"orgsync migrate --from-mongo mongodb://user:password@host/ --to data":                                        "needs a MongoDB; cmd/orgsync: TestADirectoryMovesIntoMongoAndBack runs it",
}

// root is the repository.
const root = "../.."

func TestMain(m *testing.M) {
	code := m.Run()
	program.Remove()
	os.Exit(code)
}

// documents lists the documents by path.
func documents(t *testing.T) []string {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(root, "docs", "*.md"))
	require.NoError(t, err)
	nested, err := filepath.Glob(filepath.Join(root, "docs", "*", "*.md"))
	require.NoError(t, err)
	readmes, err := filepath.Glob(filepath.Join(root, "README*.md"))
	require.NoError(t, err)
	require.Len(t, readmes, 2)
	return append(append(readmes, paths...), nested...)
}

func TestTheDocumentationRuns(t *testing.T) { //nolint:tparallel // the inner run ends when its subtests have
	t.Parallel()
	var used sync.Map
	t.Run("documents", func(t *testing.T) {
		for _, path := range documents(t) {
			text, err := os.ReadFile(path)
			require.NoError(t, err)
			steps := stepsOf(string(text))
			if len(steps) == 0 {
				continue
			}
			t.Run(filepath.Base(path), func(t *testing.T) {
				t.Parallel()
				s := newSession(t)
				for _, step := range steps {
					if reason, skipped := notRun[strings.TrimSpace(step.command)]; skipped {
						require.NotEmpty(t, reason)
						used.Store(strings.TrimSpace(step.command), true)
						continue
					}
					s.run(filepath.Base(path), step)
				}
			})
		}
	})
	for command := range notRun {
		_, found := used.Load(command)
		require.True(t, found, "no document shows %q any more", command)
	}
}

// session is a shell in a directory of its own, with orgsync on its path. What
// the documents call port 8080 and 8643 are free ports here.
type session struct {
	*testing.T
	dir     string
	in      io.Writer
	out     *bufio.Reader
	rename  *strings.Replacer
	restore *strings.Replacer
}

func newSession(t *testing.T) *session {
	t.Helper()
	path, err := program.Path()
	require.NoError(t, err)
	server, err := scimserver.New(scimserver.Options{Token: "scim-token"})
	require.NoError(t, err)
	target := httptest.NewServer(server)
	t.Cleanup(target.Close)
	own, err := port.Free()
	require.NoError(t, err)
	scimPort := portOf(t, target.Listener)

	s := &session{T: t, dir: t.TempDir()}
	s.rename = strings.NewReplacer("go run ./cmd/orgsync", "orgsync", ":8080", ":"+own, ":8643", ":"+scimPort)
	s.restore = strings.NewReplacer(":"+own, ":8080", ":"+scimPort, ":8643")
	shell := exec.Command("bash", "--norc", "--noprofile")
	shell.Dir = s.dir
	shell.Env = []string{
		"PATH=" + filepath.Dir(path) + ":" + os.Getenv("PATH"), "HOME=" + s.dir, "TMPDIR=" + s.dir, "LANG=C.UTF-8",
		"ORGSYNC_LISTEN=:" + own,
	}
	shell.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	in, err := shell.StdinPipe()
	require.NoError(t, err)
	out, err := shell.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, shell.Start())
	s.in, s.out = in, bufio.NewReader(out)
	t.Cleanup(func() {
		_ = syscall.Kill(-shell.Process.Pid, syscall.SIGKILL) // and what it has started
		_ = shell.Wait()
	})
	return s
}

func portOf(t *testing.T, listener net.Listener) string {
	t.Helper()
	_, port, err := net.SplitHostPort(listener.Addr().String())
	require.NoError(t, err)
	return port
}

const mark = "\x01end of command "

var stays = regexp.MustCompile(`^orgsync serve( |$)`)

// run runs a step and compares its outcome with what the document shows.
func (s *session) run(document string, step step) {
	s.Helper()
	command := s.rename.Replace(step.command)
	wait := "{ " + command + "\n} 2>&1 </dev/null"
	if stays.MatchString(command) && step.code == 0 {
		// Runs on behind what follows. It is up when it has said where.
		wait = command + " >serve.log 2>&1 </dev/null & until grep -q '^API' serve.log; do kill -0 $! || break; sleep 0.05; done; cat serve.log"
	}
	_, err := fmt.Fprintf(s.in, "%s\nprintf '\\n%s%%d\\n' $?\n", wait, mark)
	require.NoError(s, err)
	output, code := s.read(document, step)
	place := fmt.Sprintf("%s:%d: %s", document, step.line, step.command)
	require.Equal(s, step.code, code, "%s\n%s", place, output)
	if step.json != "" {
		require.NoError(s, sameJSON(step.json, output), "%s\n%s", place, output)
		return
	}
	require.True(s, matches(step.output, output), "%s\nshown:\n%s\n\nis:\n%s", place, strings.Join(step.output, "\n"), output)
}

func (s *session) read(document string, step step) (output string, code int) {
	s.Helper()
	type answer struct {
		text string
		code int
		err  error
	}
	answers := make(chan answer, 1)
	go func() {
		var a answer
		for a.err == nil {
			var line string
			line, a.err = s.out.ReadString('\n')
			if rest, ok := strings.CutPrefix(line, mark); ok {
				_, a.err = fmt.Sscan(rest, &a.code)
				break
			}
			a.text += line
		}
		answers <- a
	}()
	select {
	case a := <-answers:
		require.NoError(s, a.err, "%s:%d: %s", document, step.line, a.text)
		return s.restore.Replace(strings.TrimSuffix(a.text, "\n")), a.code
	case <-time.After(3 * time.Minute):
		require.Fail(s, "too slow", "%s:%d: %s", document, step.line, step.command)
		return "", 0
	}
}
