package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/openkoo/connector/secrets"
)

func TestARotationKeepsEveryKeyThatWasEverUsed(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	c, _, err := keys(t, dir)
	require.NoError(t, err)
	require.False(t, c.Rotating())
	first := c.EncryptionKey
	require.NoError(t, c.RotateKeyFiles())
	second := c.EncryptionKey
	require.NotEqual(t, first, second)
	require.NoError(t, c.RotateKeyFiles())

	read, made, err := keys(t, dir)
	require.NoError(t, err)
	require.Empty(t, made)
	require.Equal(t, c.EncryptionKey, read.EncryptionKey)
	require.Equal(t, []Secret{second, first}, read.PreviousEncryptionKeys)
	require.True(t, read.Rotating())
	for _, name := range []string{EncryptionKeyFile, PreviousKeysFile} {
		info, err := os.Stat(filepath.Join(dir, name))
		require.NoError(t, err)
		require.Equal(t, os.FileMode(0o600), info.Mode().Perm(), name)
	}
}

// Between the two files the present key is among the earlier ones: that is no
// rotation yet, and the next try does not keep it twice.
func TestARotationCutOffBetweenItsFilesStartsOver(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	c, _, err := keys(t, dir)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(dir, PreviousKeysFile), []byte(c.EncryptionKey.Reveal()+"\n"), 0o600))
	read, _, err := keys(t, dir)
	require.NoError(t, err)
	require.False(t, read.Rotating())
	require.NoError(t, read.RotateKeyFiles())
	require.Equal(t, []Secret{c.EncryptionKey}, read.PreviousEncryptionKeys)
}

func TestSpoiltEarlierKeysAreRefused(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	c, _, err := keys(t, dir)
	require.NoError(t, err)
	for _, text := range []string{"", "secret-junk\n", c.EncryptionKey.Reveal() + "\nsecret-junk"} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, PreviousKeysFile), []byte(text), 0o600))
		_, _, err = keys(t, dir)
		require.ErrorContains(t, err, filepath.Join(dir, PreviousKeysFile))
		require.NotContains(t, err.Error(), "secret-junk")
	}
	require.NoError(t, os.Remove(filepath.Join(dir, PreviousKeysFile)))
	require.NoError(t, os.WriteFile(filepath.Join(dir, EncryptionKeyFile), []byte(c.EncryptionKey.Reveal()+","+c.EncryptionKey.Reveal()), 0o600))
	_, _, err = keys(t, dir)
	require.ErrorContains(t, err, "Base64 of 32 bytes", "one key is the present one, not two")
}

func TestEarlierKeysMayBeConfigured(t *testing.T) {
	t.Parallel()
	one, two := secrets.NewEncryptionKey(), secrets.NewEncryptionKey()
	c, err := Load("", []string{"ORGSYNC_ENCRYPTION_KEY=" + one, "ORGSYNC_PREVIOUS_ENCRYPTION_KEYS=" + two + "," + one}, nil)
	require.NoError(t, err)
	require.Equal(t, []string{two, one}, reveal(c.PreviousEncryptionKeys))
	require.True(t, c.Rotating())
	_, err = Load("", []string{"ORGSYNC_PREVIOUS_ENCRYPTION_KEYS=" + two + ",secret-junk"}, nil)
	require.ErrorContains(t, err, "previousEncryptionKeys[1]: want Base64 of 32 bytes")
	require.NotContains(t, err.Error(), "secret-junk")
}

func TestTheNextKeyIsMadeOnce(t *testing.T) {
	t.Parallel()
	c := &Config{DataDir: t.TempDir()}
	path, err := c.MakeNextKey()
	require.NoError(t, err)
	first, err := os.ReadFile(path)
	require.NoError(t, err)
	require.True(t, validEncryptionKey(strings.TrimSpace(string(first))))
	again, err := c.MakeNextKey()
	require.NoError(t, err)
	require.Equal(t, path, again)
	second, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, first, second, "a replica may have it already")
}
