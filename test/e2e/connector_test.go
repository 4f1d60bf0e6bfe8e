// Package e2e tests the built program from the outside.
package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
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
)

// binary is the program, built once with the race detector off, as shipped.
var binary = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "orgsync-e2e-")
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "orgsync")
	build := exec.Command("go", "build", "-o", path, "../../cmd/orgsync")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if text, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build: %w: %s", err, text)
	}
	return path, nil
})

func TestMain(m *testing.M) {
	code := m.Run()
	if path, err := binary(); err == nil {
		_ = os.RemoveAll(filepath.Dir(path))
	}
	os.Exit(code)
}

// connector is a running `orgsync serve`.
type connector struct {
	t       *testing.T
	dir     string
	config  string
	base    string
	command *exec.Cmd
	log     *syncBuffer
}

// syncBuffer gathers what a process prints and tells when a line is there.
type syncBuffer struct {
	mu    sync.Mutex
	text  bytes.Buffer
	grown chan struct{}
}

func newSyncBuffer() *syncBuffer { return &syncBuffer{grown: make(chan struct{})} }

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	close(b.grown)
	b.grown = make(chan struct{})
	return b.text.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

func (b *syncBuffer) await(pattern *regexp.Regexp, ended <-chan struct{}) (string, error) {
	deadline := time.After(30 * time.Second)
	for {
		b.mu.Lock()
		grown, text := b.grown, b.text.String()
		b.mu.Unlock()
		if match := pattern.FindStringSubmatch(text); match != nil {
			return match[1], nil
		}
		select {
		case <-grown:
		case <-ended:
			return "", fmt.Errorf("ended before %s:\n%s", pattern, b.String())
		case <-deadline:
			return "", fmt.Errorf("no %s within 30 s:\n%s", pattern, b.String())
		}
	}
}

var address = regexp.MustCompile(`API +(http://\S+)/api/v1`)

// start runs the program on a free port. targets is the YAML of the targets.
func start(t *testing.T, targets string) *connector {
	t.Helper()
	c := &connector{t: t, dir: t.TempDir()}
	c.config = filepath.Join(c.dir, "orgsync.yaml")
	text := "listen: 127.0.0.1:0\ndataDir: " + filepath.Join(c.dir, "data") + "\n" + targets
	require.NoError(t, os.WriteFile(c.config, []byte(text), 0o600))
	c.run()
	t.Cleanup(func() { c.stop(syscall.SIGKILL) })
	return c
}

func (c *connector) run() {
	c.t.Helper()
	path, err := binary()
	require.NoError(c.t, err)
	c.log = newSyncBuffer()
	c.command = exec.Command(path, "serve", "--config", c.config)
	c.command.Stdout, c.command.Stderr = c.log, c.log
	require.NoError(c.t, c.command.Start())
	ended := make(chan struct{})
	command := c.command
	go func() { _ = command.Wait(); close(ended) }()
	c.base, err = c.log.await(address, ended)
	require.NoError(c.t, err)
	c.t.Cleanup(func() { <-ended })
}

// stop ends the program and waits for it.
func (c *connector) stop(signal syscall.Signal) {
	_ = c.command.Process.Signal(signal)
	for c.command.Process.Signal(syscall.Signal(0)) == nil {
		time.Sleep(5 * time.Millisecond) // the process table has no signal to wait for
	}
}

func (c *connector) secret(name string) string {
	c.t.Helper()
	text, err := os.ReadFile(filepath.Join(c.dir, "data", name))
	require.NoError(c.t, err)
	return strings.TrimSpace(string(text))
}

// get reads from the API.
func (c *connector) get(path string, into any) {
	c.t.Helper()
	request, err := http.NewRequestWithContext(context.Background(), http.MethodGet, c.base+"/api/v1"+path, nil)
	require.NoError(c.t, err)
	request.Header.Set("Authorization", "Bearer "+c.secret("admin-token"))
	response, err := http.DefaultClient.Do(request)
	require.NoError(c.t, err)
	defer func() { _ = response.Body.Close() }()
	require.Equal(c.t, http.StatusOK, response.StatusCode, path)
	require.NoError(c.t, json.NewDecoder(response.Body).Decode(into))
}
