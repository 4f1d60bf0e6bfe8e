package config

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// NextKeyFile is the file in the data directory that holds a new encryption key
// where the present one is configured: the configuration has to name it.
const NextKeyFile = "next-encryption-key"

// Rotating reports whether an encryption key before the present one is known:
// a rotation has begun.
func (c *Config) Rotating() bool {
	return slices.ContainsFunc(c.PreviousEncryptionKeys, func(key Secret) bool { return key != c.EncryptionKey })
}

// RotateKeyFiles makes a new encryption key the present one of the data
// directory, and keeps the present one with the earlier ones. It is for keys
// that EnsureKeys has read from there. Each step leaves files that open
// everything: the earlier keys are written first.
func (c *Config) RotateKeyFiles() error {
	earlier := append([]Secret{c.EncryptionKey}, slices.DeleteFunc(slices.Clone(c.PreviousEncryptionKeys), func(key Secret) bool { return key == c.EncryptionKey })...)
	if err := replaceFile(filepath.Join(c.DataDir, PreviousKeysFile), strings.Join(reveal(earlier), "\n")); err != nil {
		return err
	}
	next, err := newEncryptionKey()
	if err != nil {
		return err
	}
	if err := replaceFile(filepath.Join(c.DataDir, EncryptionKeyFile), next); err != nil {
		return err
	}
	c.EncryptionKey, c.PreviousEncryptionKeys = Secret(next), earlier
	return nil
}

// MakeNextKey makes a new encryption key for the configuration to name, once:
// one that is there already is kept. It returns the file.
func (c *Config) MakeNextKey() (path string, err error) {
	k := &keyDir{path: c.DataDir}
	k.secret(NextKeyFile, newEncryptionKey, oneEncryptionKey)
	return filepath.Join(c.DataDir, NextKeyFile), k.err
}

func replaceFile(path, text string) error {
	if err := publish(path, text+"\n", os.Rename); err != nil {
		return fmt.Errorf("%s: cannot be written: %w", path, bare(err))
	}
	return nil
}
