package config

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/openkoo/connector/secrets"
)

// The files of generated secrets in the data directory.
const (
	AccessKeyFile     = "kit-access-key"
	PrivateKeyFile    = "app-private-key.pem"
	PublicKeyFile     = "app-public-key.pem"
	EncryptionKeyFile = "encryption-key"
	AdminTokenFile    = "admin-token"
)

// EnsureKeys fills the secrets that are not configured from the data directory,
// and makes those that are not there either. It returns the files it made.
// No secret is ever a default.
func (c *Config) EnsureKeys() (made []string, err error) {
	if err := os.MkdirAll(c.DataDir, 0o700); err != nil {
		return nil, fmt.Errorf("make data directory: %w; set %sDATA_DIR to one that can be written", err, Prefix)
	}
	ensure := func(name string, make func() (string, error)) (string, error) {
		path := filepath.Join(c.DataDir, name)
		text, err := os.ReadFile(path)
		if err == nil {
			return strings.TrimSpace(string(text)), nil
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return "", fmt.Errorf("read %s: %w", name, err)
		}
		value, err := make()
		if err != nil {
			return "", err
		}
		if err := os.WriteFile(path, []byte(value+"\n"), 0o600); err != nil {
			return "", fmt.Errorf("write %s: %w", name, err)
		}
		made = append(made, path)
		return value, nil
	}
	token := func() (string, error) { return secrets.NewToken(), nil }
	if len(c.KitAccessKeys) == 0 {
		key, err := ensure(AccessKeyFile, token)
		if err != nil {
			return made, err
		}
		c.KitAccessKeys = []string{key}
	}
	if c.AdminToken == "" {
		if c.AdminToken, err = ensure(AdminTokenFile, token); err != nil {
			return made, err
		}
	}
	if c.EncryptionKey == "" {
		if c.EncryptionKey, err = ensure(EncryptionKeyFile, func() (string, error) { return secrets.NewEncryptionKey(), nil }); err != nil {
			return made, err
		}
	}
	if c.AppPrivateKeyFile == "" {
		if err := c.ensurePrivateKey(ensure); err != nil {
			return made, err
		}
	}
	return made, nil
}

func (c *Config) ensurePrivateKey(ensure func(string, func() (string, error)) (string, error)) error {
	text, err := ensure(PrivateKeyFile, func() (string, error) {
		key, err := secrets.NewPrivateKey()
		return strings.TrimSpace(string(key)), err
	})
	if err != nil {
		return err
	}
	c.AppPrivateKeyFile = filepath.Join(c.DataDir, PrivateKeyFile)
	_, err = ensure(PublicKeyFile, func() (string, error) {
		key, err := secrets.ParsePrivateKey([]byte(text))
		if err != nil {
			return "", err
		}
		_, public, err := key.PublicKey()
		return strings.TrimSpace(string(public)), err
	})
	return err
}
