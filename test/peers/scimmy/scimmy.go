// Package scimmy starts a SCIM server that others have written: the npm
// libraries scimmy and scimmy-routers, on Node. See server.mjs.
package scimmy

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/openkoo/connector/target/scim/scimtest"
	"github.com/openkoo/connector/test/peers/child"
)

// Token is the bearer token that lets a client in.
const Token = "scimmy-bearer-token"

var listening = regexp.MustCompile(`listening on (http://\S+)`)

// Start starts a server of its own for a test, and first installs what it is
// made of, if need be. It ends with the test.
func Start(t testing.TB) scimtest.Server {
	t.Helper()
	dir, err := installed()
	if err != nil {
		t.Fatal(err)
	}
	command := exec.CommandContext(t.Context(), "node", "server.mjs")
	command.Dir = dir
	command.Env = append(os.Environ(), "SCIM_TOKEN="+Token)
	if _, err := command.StdinPipe(); err != nil { // it ends when this end closes
		t.Fatal(err)
	}
	url, err := child.Start(t, command).Await(listening)
	if err != nil {
		t.Fatal(err)
	}
	return scimtest.Server{URL: url, Token: Token}
}

// installed makes sure, once, that the libraries of the lockfile are there. A
// lock on disk keeps the test binaries that need them from each other's way.
var installed = sync.OnceValues(func() (dir string, err error) {
	// Asked of the tool: a binary built with -trimpath does not know.
	where, err := exec.CommandContext(context.Background(), "go", "list", "-f", "{{.Dir}}", "github.com/openkoo/connector/test/peers/scimmy").Output()
	if err != nil {
		return "", fmt.Errorf("scimmy: find its directory: %w", err)
	}
	dir = strings.TrimSpace(string(where))
	lock, err := os.Open(filepath.Join(dir, "package-lock.json"))
	if err != nil {
		return dir, fmt.Errorf("scimmy: %w", err)
	}
	defer func() { _ = lock.Close() }()
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		return dir, fmt.Errorf("scimmy: lock: %w", err)
	}
	if fresh(dir) {
		return dir, nil
	}
	command := exec.CommandContext(context.Background(), "npm", "ci", "--omit=dev", "--no-audit", "--no-fund")
	command.Dir = dir
	if text, err := command.CombinedOutput(); err != nil {
		return dir, fmt.Errorf("scimmy: npm ci in %s, which needs Node 20 and npm: %w: %s", dir, err, text)
	}
	return dir, nil
})

// fresh reports whether what is installed is no older than the lockfile.
func fresh(dir string) bool {
	have, err := os.Stat(filepath.Join(dir, "node_modules", ".package-lock.json"))
	if err != nil {
		return false
	}
	want, err := os.Stat(filepath.Join(dir, "package-lock.json"))
	return err == nil && !have.ModTime().Before(want.ModTime())
}
