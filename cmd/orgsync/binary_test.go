package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/openkoo/connector/test/program"
)

// process is the built program, running.
type process struct {
	*exec.Cmd
	out   *lockedBuffer
	tmp   string // its TMPDIR
	ended chan struct{}
}

// start runs the program; it dies with the test.
func start(t *testing.T, args ...string) *process {
	t.Helper()
	path, err := program.Path()
	require.NoError(t, err)
	p := &process{Cmd: exec.Command(path, args...), out: newLockedBuffer(), tmp: t.TempDir(), ended: make(chan struct{})}
	p.Stdout, p.Stderr, p.Dir = p.out, p.out, t.TempDir()
	p.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + p.tmp, "TMPDIR=" + p.tmp}
	p.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	require.NoError(t, p.Start())
	go func() { _ = p.Wait(); close(p.ended) }()
	t.Cleanup(func() { _ = p.Process.Kill(); <-p.ended })
	return p
}

func (p *process) left(t *testing.T) []string {
	t.Helper()
	entries, err := os.ReadDir(p.tmp)
	require.NoError(t, err)
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

func TestExitCodes(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"--version"}, 0, "orgsync "},
		{[]string{"--help"}, 0, "Run it:"},
		{[]string{"push"}, 0, "Available Commands:"},
		{[]string{"sevre"}, 1, "Error: orgsync has no command"},
		{[]string{"status", "--url", "http://127.0.0.1:1", "--token-file", "/dev/null"}, 1, "Error: no connector answers"},
	} {
		p := start(t, c.args...)
		<-p.ended
		require.Equal(t, c.code, p.ProcessState.ExitCode(), "%v: %s", c.args, p.out)
		require.Contains(t, p.out.String(), c.want)
	}
}

// The demo shows the whole way, its commands work when pasted, and it leaves
// nothing behind.
func TestDemo(t *testing.T) {
	t.Parallel()
	p := start(t, "demo")
	p.out.await(t, `(?s)Look further.*holds reject .*\n`, p.ended)
	text := p.out.String()
	for _, want := range []string{
		"all 298 departments", "The tree as the store has it", "Is it synced?", "云启科技有限公司 1000",
		"The SCIM server has 298 groups and", "The empty list deleted nobody: 298 deletions are held",
		"production address  http://127.0.0.1:", "SCIM server         http://127.0.0.1:",
	} {
		require.Contains(t, text, want)
	}
	require.NotContains(t, text, "→ 00000"+"5")
	require.Equal(t, 12, strings.Count(text, "→ 000000"))

	pasted := regexp.MustCompile(`(?m)^  (curl .*|\S*orgsync (?:status|holds) .*)$`).FindAllStringSubmatch(text, -1)
	require.Len(t, pasted, 5)
	wants := []string{`"state":"held"`, `"items":[{"seq":`, `"totalResults":298`, "State: held", "Rejected: the departments stay."}
	for i, command := range pasted {
		out, err := exec.Command("bash", "-c", command[1]).CombinedOutput()
		if code, isExit := err.(*exec.ExitError); isExit && i == 3 { //nolint:errorlint // made by exec itself
			require.Equal(t, 2, code.ExitCode(), "held")
			err = nil
		}
		require.NoError(t, err, "%s: %s", command[1], out)
		require.Contains(t, string(out), wants[i], command[1])
	}

	require.NoError(t, p.Process.Signal(os.Interrupt))
	<-p.ended
	require.Equal(t, 0, p.ProcessState.ExitCode(), p.out.String())
	require.True(t, strings.HasSuffix(p.out.String(), "\nBye.\n"))
	require.Empty(t, p.left(t), "nothing is left behind")
}

func TestTheDemoEndsWhenAskedToAndWhenTold(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, until string
		args        []string
		signal      os.Signal
	}{
		{"once, beside another", "", []string{"demo", "--once"}, nil},
		{"terminated while starting", "Starting", []string{"demo"}, syscall.SIGTERM},
		{"interrupted while pushing", "allOrgSync", []string{"demo"}, os.Interrupt},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			p := start(t, c.args...)
			if c.signal != nil {
				p.out.await(t, c.until, p.ended)
				require.NoError(t, p.Process.Signal(c.signal))
			}
			<-p.ended
			require.Equal(t, 0, p.ProcessState.ExitCode(), p.out.String())
			require.Contains(t, p.out.String(), "Bye.")
			require.NotContains(t, p.out.String(), "Still running")
			require.NotContains(t, p.out.String(), "Error")
			require.Empty(t, p.left(t))
		})
	}
}

func TestServeEndsCleanlyWhenTold(t *testing.T) {
	t.Parallel()
	for _, signal := range []os.Signal{os.Interrupt, syscall.SIGTERM} {
		dir := dataDir(t)
		p := start(t, "serve", "--listen", "127.0.0.1:0", "--data-dir", dir)
		p.out.await(t, `API +http`, p.ended)
		require.NoError(t, p.Process.Signal(signal))
		<-p.ended
		require.Equal(t, 0, p.ProcessState.ExitCode(), p.out.String())
		require.NoFileExists(t, filepath.Join(dir, "orgsync.db-wal"), "the database is closed, not torn off")
	}
}

// A person at a terminal sees a bar; a log file never does.
func TestAPushShowsABarOnATerminalOnly(t *testing.T) {
	t.Parallel()
	s := serve(t)
	path, err := program.Path()
	require.NoError(t, err)
	command := fmt.Sprintf("%s push org %s --tenant t1 --url %s/saasproduce --data-dir %s", path, write(t, "d.csv", departments(40)), s.base, s.dir)
	plain, err := exec.Command("bash", "-c", command).CombinedOutput()
	require.NoError(t, err, "%s", plain)
	require.NotContains(t, string(plain), "Pushing")
	require.NotContains(t, string(plain), "\x1b", "no escape sequences in a file")

	terminal := exec.Command("script", "-qec", command, "/dev/null")
	terminal.Env = append(os.Environ(), "TERM=xterm")
	shown, err := terminal.CombinedOutput()
	require.NoError(t, err, "%s", shown)
	require.Contains(t, string(shown), "Pushing")
	require.Contains(t, string(shown), "40 of 40 calls answered")
}
