// Package e2e tests the built program from the outside.
package e2e

import (
	"context"
	"encoding/json"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/openkoo/connector/test/peers/child"
	"github.com/openkoo/connector/test/program"
)

func TestMain(m *testing.M) {
	code := m.Run()
	program.Remove()
	os.Exit(code)
}

// connector is a running `orgsync serve`.
type connector struct {
	t      *testing.T
	dir    string
	config string
	base   string
	child  *child.Process
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
	return c
}

// run starts the program, again after it was stopped.
func (c *connector) run() {
	c.t.Helper()
	path, err := program.Path()
	require.NoError(c.t, err)
	c.child = child.Start(c.t, exec.Command(path, "serve", "--config", c.config))
	c.base, err = c.child.Await(address)
	require.NoError(c.t, err)
}

// stop ends the program, gently or not, and waits for it.
func (c *connector) stop(signal syscall.Signal) {
	c.t.Helper()
	require.NoError(c.t, c.child.Stop(signal))
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
