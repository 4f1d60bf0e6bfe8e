// Package e2e tests the built program from the outside.
package e2e

import (
	"context"
	"encoding/json"
	"fmt"
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
	if err := stopMongo(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = max(code, 1)
	}
	os.Exit(code)
}

// connector is a running `orgsync serve`.
type connector struct {
	t      *testing.T
	dir    string
	name   string
	config string
	base   string
	child  *child.Process
}

var address = regexp.MustCompile(`API +(http://\S+)/api/v1`)

// start runs the program on a free port. settings is YAML, of the targets at
// least.
func start(t *testing.T, settings string) *connector {
	t.Helper()
	c := configure(t, t.TempDir(), "orgsync", settings)
	c.run()
	return c
}

// configure makes a configuration; those of one directory share their secrets.
func configure(t *testing.T, dir, name, settings string) *connector {
	t.Helper()
	key, err := program.PrivateKey()
	require.NoError(t, err)
	c := &connector{t: t, dir: dir, name: name, config: filepath.Join(dir, name+".yaml")}
	text := "listen: 127.0.0.1:0\ndataDir: " + filepath.Join(dir, "data") + "\nappPrivateKeyFile: " + key + "\n" + settings
	require.NoError(t, os.WriteFile(c.config, []byte(text), 0o600))
	return c
}

// run starts the program, again after it was stopped.
func (c *connector) run() {
	c.t.Helper()
	c.launch()
	c.ready()
}

// launch starts the program and does not wait for it.
func (c *connector) launch() {
	c.t.Helper()
	path, err := program.Path()
	require.NoError(c.t, err)
	c.child = child.Start(c.t, exec.Command(path, "serve", "--config", c.config))
}

// ready waits until the program says where it listens.
func (c *connector) ready() {
	c.t.Helper()
	var err error
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
	response, err := http.DefaultClient.Do(c.request("/api/v1" + path))
	require.NoError(c.t, err)
	defer func() { _ = response.Body.Close() }()
	require.Equal(c.t, http.StatusOK, response.StatusCode, path)
	require.NoError(c.t, json.NewDecoder(response.Body).Decode(into))
}

// request asks for a path with the admin's token.
func (c *connector) request(path string) *http.Request {
	c.t.Helper()
	request, err := http.NewRequestWithContext(context.Background(), http.MethodGet, c.base+path, nil)
	require.NoError(c.t, err)
	request.Header.Set("Authorization", "Bearer "+c.secret("admin-token"))
	return request
}
