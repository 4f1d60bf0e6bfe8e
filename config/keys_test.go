package config

import (
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/openkoo/connector/secrets"
)

// keys ensures the keys of a data directory.
func keys(t *testing.T, dir string) (*Config, []string, error) {
	t.Helper()
	c := &Config{DataDir: dir}
	made, err := c.EnsureKeys()
	return c, made, err
}

func TestKeysAreMadeOnceAndReadAfterwards(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "deep", "data")
	first, made, err := keys(t, dir)
	require.NoError(t, err)
	require.Len(t, made, 5)
	for _, path := range made {
		info, err := os.Stat(path)
		require.NoError(t, err)
		require.Equal(t, os.FileMode(0o600), info.Mode().Perm(), path)
	}
	require.NotEqual(t, first.KitKeys()[0], first.AdminToken.Reveal())

	second, made, err := keys(t, dir)
	require.NoError(t, err)
	require.Empty(t, made)
	require.Equal(t, first, second)
	left, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, left, 5, "nothing half-made stays")
}

func TestWhatIsConfiguredIsNotMade(t *testing.T) {
	t.Parallel()
	c := &Config{DataDir: t.TempDir(), KitAccessKeys: []Secret{"given-key"}, AdminToken: "given-token", EncryptionKey: "x", AppPrivateKeyFile: "y"}
	made, err := c.EnsureKeys()
	require.NoError(t, err)
	require.Empty(t, made)
}

// Replicas that share a data directory must open each other's secrets.
func TestProcessesThatStartTogetherEndWithTheSameKeys(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	const replicas = 4
	got := make([]*Config, replicas)
	made := make([]int, replicas)
	var ready, done sync.WaitGroup
	ready.Add(replicas)
	for i := range replicas {
		done.Go(func() {
			ready.Done()
			ready.Wait()
			c := &Config{DataDir: dir}
			paths, err := c.EnsureKeys()
			if err == nil {
				got[i], made[i] = c, len(paths)
			}
		})
	}
	done.Wait()
	for i := range replicas {
		require.NotNil(t, got[i])
		require.Equal(t, got[0].KitKeys(), got[i].KitKeys())
		require.Equal(t, got[0].AdminToken, got[i].AdminToken)
		require.Equal(t, got[0].EncryptionKey, got[i].EncryptionKey)
	}
	private, err := os.ReadFile(filepath.Join(dir, PrivateKeyFile))
	require.NoError(t, err)
	key, err := secrets.ParsePrivateKey(private)
	require.NoError(t, err)
	_, public, err := key.PublicKey()
	require.NoError(t, err)
	stored, err := os.ReadFile(filepath.Join(dir, PublicKeyFile))
	require.NoError(t, err)
	require.Equal(t, string(public), string(stored), "the public half belongs to the private half that won")
}

func TestThePublicHalfFollowsThePrivateOne(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	_, _, err := keys(t, dir)
	require.NoError(t, err)
	path := filepath.Join(dir, PublicKeyFile)
	right, err := os.ReadFile(path)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(path, []byte("of a key of before"), 0o600))
	_, made, err := keys(t, dir)
	require.NoError(t, err)
	require.Equal(t, []string{path}, made)
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, right, text)
}

func TestAnAccessKeyFileMayHoldTwoKeysWhileRotating(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, AccessKeyFile), []byte("new-access-key\nold-access-key\n"), 0o600))
	c, _, err := keys(t, dir)
	require.NoError(t, err)
	require.Equal(t, []string{"new-access-key", "old-access-key"}, c.KitKeys())
}

func TestSpoiltKeyFilesAreRefusedAndNamed(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ file, text, want string }{
		{AdminTokenFile, "", "the file is empty"},
		{AdminTokenFile, "tiny-1\n", "shorter than 8 characters"},
		{AccessKeyFile, "long-enough\ntiny-1\n", "shorter than 8 characters"},
		{EncryptionKeyFile, "not-base64-of-32-bytes\n", "want Base64 of 32 bytes; restore it from your backup"},
		{PrivateKeyFile, "-----BEGIN", "no PEM block found"},
	} {
		dir := t.TempDir()
		path := filepath.Join(dir, c.file)
		require.NoError(t, os.WriteFile(path, []byte(c.text), 0o600))
		_, _, err := keys(t, dir)
		require.ErrorContains(t, err, path+": ", c.file)
		require.ErrorContains(t, err, c.want, c.file)
		if text := strings.TrimSpace(c.text); text != "" && c.file != PrivateKeyFile {
			require.NotContains(t, err.Error(), text, "no key in an error")
		}
		stored, err := os.ReadFile(path)
		require.NoError(t, err)
		require.Equal(t, c.text, string(stored), "a spoilt key is never written over: it may be all that opens the store")
	}
}

func TestADataDirectoryThatCannotBeMadeIsToldWithAWayOut(t *testing.T) {
	t.Parallel()
	file := write(t, "file", "")
	_, _, err := keys(t, filepath.Join(file, "data"))
	require.ErrorContains(t, err, "set ORGSYNC_DATA_DIR to one that can be written")
}

func TestFindKeysMakesNothingAndTellsAllFaults(t *testing.T) {
	t.Parallel()
	c := &Config{DataDir: filepath.Join(t.TempDir(), "none")}
	require.NoError(t, c.FindKeys())
	require.Empty(t, c.KitAccessKeys)
	require.NoDirExists(t, c.DataDir)

	dir := t.TempDir()
	made := &Config{DataDir: dir}
	_, err := made.EnsureKeys()
	require.NoError(t, err)
	found := &Config{DataDir: dir}
	require.NoError(t, found.FindKeys())
	require.Equal(t, made, found)

	require.NoError(t, os.Remove(filepath.Join(dir, PublicKeyFile)))
	for _, name := range []string{AccessKeyFile, EncryptionKeyFile, PrivateKeyFile} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte("x\n"), 0o600))
	}
	faulty := &Config{DataDir: dir}
	err = faulty.FindKeys()
	for _, name := range []string{AccessKeyFile, EncryptionKeyFile, PrivateKeyFile} {
		require.ErrorContains(t, err, name)
	}
	require.Empty(t, faulty.EncryptionKey)
	require.NoFileExists(t, filepath.Join(dir, PublicKeyFile))
}
