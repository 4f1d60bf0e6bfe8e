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
	PreviousKeysFile  = "previous-encryption-keys"
	AdminTokenFile    = "admin-token"
)

// EnsureKeys fills the secrets that are not configured from the data directory,
// and makes those that are not there either. It returns the files it made.
// Processes that start at the same time end with the same keys. No secret is
// ever a default.
func (c *Config) EnsureKeys() (made []string, err error) {
	if err := os.MkdirAll(c.DataDir, 0o700); err != nil {
		return nil, fmt.Errorf("make data directory: %w; set %sDATA_DIR to one that can be written", err, Prefix)
	}
	k := &keyDir{path: c.DataDir}
	c.fillKeys(k)
	return k.made, k.err
}

// FindKeys fills the secrets that are not configured from the data directory, as
// EnsureKeys does, and makes none: what is not there stays empty. The error
// joins what is wrong with those that are.
func (c *Config) FindKeys() error {
	k := &keyDir{path: c.DataDir, find: true}
	c.fillKeys(k)
	return k.err
}

func (c *Config) fillKeys(k *keyDir) {
	if len(c.KitAccessKeys) == 0 {
		for _, key := range splitCommas(k.secret(AccessKeyFile, newToken, longEnough)) {
			c.KitAccessKeys = append(c.KitAccessKeys, Secret(key))
		}
	}
	if c.AdminToken == "" {
		c.AdminToken = Secret(k.secret(AdminTokenFile, newToken, longEnough))
	}
	if c.EncryptionKey == "" {
		c.EncryptionKey = Secret(k.secret(EncryptionKeyFile, newEncryptionKey, oneEncryptionKey))
		for _, key := range splitCommas(k.optional(PreviousKeysFile, encryptionKeys)) {
			c.PreviousEncryptionKeys = append(c.PreviousEncryptionKeys, Secret(key))
		}
	}
	if c.AppPrivateKeyFile == "" {
		k.pair()
		c.AppPrivateKeyFile = filepath.Join(c.DataDir, PrivateKeyFile)
	}
}

func newToken() (string, error)         { return secrets.NewToken(), nil }
func newEncryptionKey() (string, error) { return secrets.NewEncryptionKey(), nil }

func oneEncryptionKey(text string) error {
	if !validEncryptionKey(text) {
		return errors.New("want Base64 of 32 bytes; restore it from your backup: secrets in the store open with it alone")
	}
	return nil
}

func encryptionKeys(text string) error {
	for _, key := range splitCommas(text) {
		if err := oneEncryptionKey(key); err != nil {
			return err
		}
	}
	return nil
}

func longEnough(text string) error {
	for _, key := range splitCommas(text) {
		if len(key) < minKeyLength {
			return fmt.Errorf("shorter than %d characters; remove the file to have a new one made", minKeyLength)
		}
	}
	return nil
}

// keyDir reads and makes the files of secrets. Its first error stays, and
// nothing is made after it.
type keyDir struct {
	path string
	find bool // make nothing, and go on after an error
	made []string
	err  error
}

func (k *keyDir) fail(path string, err error) {
	k.err = errors.Join(k.err, fmt.Errorf("%s: %w", path, err))
}

// secret reads a file, made first if it is not there.
func (k *keyDir) secret(name string, generate func() (string, error), check func(string) error) string {
	if k.err != nil && !k.find {
		return ""
	}
	if k.find && !k.has(name) {
		return ""
	}
	text, err := k.readOrMake(filepath.Join(k.path, name), generate)
	if err == nil && text == "" {
		err = errors.New("the file is empty; restore it from your backup, or remove it to have a new one made")
	}
	if err == nil {
		err = check(text)
	}
	if err != nil {
		k.fail(filepath.Join(k.path, name), err)
		return ""
	}
	return text
}

func (k *keyDir) has(name string) bool {
	_, err := os.Stat(filepath.Join(k.path, name))
	return !errors.Is(err, fs.ErrNotExist)
}

// optional reads a file that need not be there.
func (k *keyDir) optional(name string, check func(string) error) string {
	if !k.has(name) {
		return ""
	}
	return k.secret(name, func() (string, error) { return "", fs.ErrNotExist }, check)
}

func (k *keyDir) readOrMake(path string, generate func() (string, error)) (string, error) {
	text, err := secrets.ReadFile(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return string(text), bare(err)
	}
	value, err := generate()
	if err != nil {
		return "", err
	}
	switch err := publish(path, value+"\n", os.Link); {
	case errors.Is(err, fs.ErrExist): // another process was faster: its key it is
		text, err := secrets.ReadFile(path)
		return string(text), bare(err)
	case err != nil:
		return "", fmt.Errorf("cannot be written: %w; set %sDATA_DIR to a directory that can", bare(err), Prefix)
	}
	k.made = append(k.made, path)
	return value, nil
}

// pair makes sure of the RSA pair: the public half follows the private one.
func (k *keyDir) pair() {
	var key *secrets.Decrypter
	k.secret(PrivateKeyFile, func() (string, error) {
		text, err := secrets.NewPrivateKey()
		return strings.TrimSpace(string(text)), err
	}, func(text string) (err error) {
		key, err = secrets.ParsePrivateKey([]byte(text))
		return err
	})
	if k.err != nil || k.find {
		return
	}
	_, public, err := key.PublicKey()
	if err != nil {
		k.err = err
		return
	}
	path := filepath.Join(k.path, PublicKeyFile)
	if stored, err := os.ReadFile(path); err == nil && string(stored) == string(public) {
		return
	}
	if err := publish(path, string(public), os.Rename); err != nil {
		k.err = fmt.Errorf("%s: cannot be written: %w", path, bare(err))
		return
	}
	k.made = append(k.made, path)
}

// publish writes a file beside path, readable by the owner alone, and puts it
// in its place whole: nobody ever reads half a key.
func publish(path, text string, place func(from, to string) error) (err error) {
	file, err := os.CreateTemp(filepath.Dir(path), ".new-key-*") // 0600
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(file.Name()) }()
	_, err = file.WriteString(text)
	if err == nil {
		err = file.Sync()
	}
	if err := errors.Join(err, file.Close()); err != nil {
		return err
	}
	return place(file.Name(), path)
}

// bare is the cause of a file error, without the path that the message has already.
func bare(err error) error {
	if pathError, ok := errors.AsType[*fs.PathError](err); ok {
		return pathError.Err
	}
	if linkError, ok := errors.AsType[*os.LinkError](err); ok {
		return linkError.Err
	}
	return err
}
