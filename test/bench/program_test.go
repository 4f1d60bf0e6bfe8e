package bench

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/openkoo/connector/test/program"
)

// floorDir makes the test binary the floor's server.
const floorDir = "ORGSYNC_BENCH_FLOOR_DIR"

func TestMain(m *testing.M) {
	if dir := os.Getenv(floorDir); dir != "" {
		serveFloor(dir)
		return
	}
	code := m.Run()
	program.Remove()
	os.Exit(code)
}

// server is a running program, ours or the floor.
type server struct {
	base, key string
	command   *exec.Cmd
}

// startProgram runs `orgsync serve` on an empty directory with further settings
// in YAML, such as its targets.
func startProgram(tb testing.TB, settings ...string) *server {
	tb.Helper()
	path, err := program.Path()
	require.NoError(tb, err)
	key, err := program.PrivateKey()
	require.NoError(tb, err)
	dir := tb.TempDir()
	config := filepath.Join(dir, "orgsync.yaml")
	text := "appPrivateKeyFile: " + key + "\n" + strings.Join(settings, "\n")
	require.NoError(tb, os.WriteFile(config, []byte(text), 0o600))
	command := exec.Command(path, "serve", "--config", config, "--data-dir", dir, "--listen", "127.0.0.1:0")
	command.Env = append(os.Environ(), "ORGSYNC_LOG_LEVEL=error", "ORGSYNC_MAX_BODY=1000000000")
	s := start(tb, command, regexp.MustCompile(`Production address +(http://\S+)`))
	access, err := os.ReadFile(filepath.Join(dir, "kit-access-key"))
	require.NoError(tb, err)
	s.key = strings.TrimSpace(string(access))
	return s
}

// startFloor runs the bare server: it verifies a signature and commits a row.
func startFloor(tb testing.TB) *server {
	tb.Helper()
	self, err := os.Executable()
	require.NoError(tb, err)
	command := exec.Command(self)
	command.Env = append(os.Environ(), floorDir+"="+tb.TempDir())
	s := start(tb, command, regexp.MustCompile(`floor (http://\S+)`))
	s.key = floorKey
	return s
}

func start(tb testing.TB, command *exec.Cmd, ready *regexp.Regexp) *server {
	tb.Helper()
	command.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	command.Stderr = os.Stderr
	out, err := command.StdoutPipe()
	require.NoError(tb, err)
	require.NoError(tb, command.Start())
	tb.Cleanup(func() {
		_ = command.Process.Kill()
		_ = command.Wait()
	})
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		if match := ready.FindStringSubmatch(lines.Text()); match != nil {
			go func() {
				for lines.Scan() { // the rest must not block the program
				}
			}()
			return &server{base: match[1], command: command}
		}
	}
	require.FailNow(tb, "the program ended before it was ready")
	return nil
}

// peakMB is the largest resident set so far, in MB.
func (s *server) peakMB(tb testing.TB) float64 {
	tb.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.command.Process.Pid))
	require.NoError(tb, err)
	match := regexp.MustCompile(`VmHWM:\s+(\d+) kB`).FindSubmatch(text)
	require.NotNil(tb, match)
	kB, err := strconv.ParseFloat(string(match[1]), 64)
	require.NoError(tb, err)
	return kB / 1000
}

// stop ends the program before the benchmark does.
func (s *server) stop(ctx context.Context, tb testing.TB) {
	tb.Helper()
	require.NoError(tb, ctx.Err())
	require.NoError(tb, s.command.Process.Kill())
	_ = s.command.Wait()
}
