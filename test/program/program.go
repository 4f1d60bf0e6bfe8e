// Package program builds the program as it ships, for tests of it from the
// outside: once for each test binary.
package program

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
)

var dir string

var build = sync.OnceValues(func() (string, error) {
	var err error
	if dir, err = os.MkdirTemp("", "orgsync-built-"); err != nil {
		return "", fmt.Errorf("make directory: %w", err)
	}
	path := filepath.Join(dir, "orgsync")
	command := exec.Command("go", "build", "-trimpath", "-o", path, "github.com/openkoo/connector/cmd/orgsync")
	command.Env = append(os.Environ(), "CGO_ENABLED=0")
	if text, err := command.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build: %w: %s", err, text)
	}
	return path, nil
})

var key = sync.OnceValues(func() (string, error) {
	path, err := build()
	if err != nil {
		return "", err
	}
	made := filepath.Join(dir, "keys")
	if text, err := exec.Command(path, "keys", "--data-dir", made).CombinedOutput(); err != nil {
		return "", fmt.Errorf("make keys: %w: %s", err, text)
	}
	return filepath.Join(made, "app-private-key.pem"), nil
})

// PrivateKey is the file of an RSA key for the setting appPrivateKeyFile, made
// at the first call: making one takes longer than most tests.
func PrivateKey() (string, error) { return key() }

// Path is where the program is, built at the first call.
func Path() (string, error) { return build() }

// Remove deletes what was built, if anything was: TestMain's last word.
func Remove() {
	if dir != "" {
		_ = os.RemoveAll(dir)
	}
}
