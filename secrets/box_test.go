package secrets_test

import (
	"bytes"
	"encoding/base64"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/openkoo/connector/secrets"
)

var (
	keyA = bytes.Repeat([]byte{'a'}, secrets.KeySize)
	keyB = bytes.Repeat([]byte{'b'}, secrets.KeySize)
)

func newBox(t require.TestingT, keys ...[]byte) *secrets.Box {
	box, err := secrets.NewBox(keys...)
	require.NoError(t, err)
	return box
}

func TestBoxOpensWhatItSealed(t *testing.T) {
	t.Parallel()
	box := newBox(t, keyA)
	rapid.Check(t, func(t *rapid.T) {
		value := rapid.SliceOf(rapid.Byte()).Draw(t, "value")
		purpose := rapid.String().Draw(t, "purpose")
		sealed := box.Seal(value, purpose)
		opened, err := box.Open(sealed, purpose)
		require.NoError(t, err)
		require.True(t, bytes.Equal(value, opened))
		require.NotEqual(t, sealed, box.Seal(value, purpose), "a nonce is used once")
		if len(value) >= 4 {
			require.False(t, bytes.Contains(sealed, value))
		}
	})
}

// Any change of any byte, and any cut, is noticed.
func TestBoxNoticesTampering(t *testing.T) {
	t.Parallel()
	box := newBox(t, keyA, keyB)
	sealed := box.Seal([]byte("the client's secret"), "purpose")
	for i := range sealed {
		for _, flip := range []byte{0x01, 0x80, 0xFF} {
			changed := bytes.Clone(sealed)
			changed[i] ^= flip
			_, err := box.Open(changed, "purpose")
			require.ErrorIs(t, err, secrets.ErrSealed, "byte %d", i)
		}
		_, err := box.Open(sealed[:i], "purpose")
		require.ErrorIs(t, err, secrets.ErrSealed, "cut to %d bytes", i)
	}
	_, err := box.Open(append(bytes.Clone(sealed), 0), "purpose")
	require.ErrorIs(t, err, secrets.ErrSealed)
	_, err = box.Open(nil, "purpose")
	require.ErrorIs(t, err, secrets.ErrSealed)
}

func TestBoxBindsAValueToItsPurpose(t *testing.T) {
	t.Parallel()
	box := newBox(t, keyA)
	_, err := box.Open(box.Seal([]byte("secret"), "client secret"), "target token")
	require.ErrorIs(t, err, secrets.ErrSealed)
	require.ErrorContains(t, err, "ORGSYNC_ENCRYPTION_KEY", "it says where to look")
}

func TestBoxRotatesKeys(t *testing.T) {
	t.Parallel()
	before, during, after := newBox(t, keyA), newBox(t, keyB, keyA), newBox(t, keyB)
	old := before.Seal([]byte("secret"), "p")
	opened, err := during.Open(old, "p")
	require.NoError(t, err, "the old key still opens")
	require.Equal(t, "secret", string(opened))
	_, err = after.Open(old, "p")
	require.ErrorIs(t, err, secrets.ErrSealed, "without the old key it stays shut")
	renewed := during.Seal(opened, "p")
	_, err = after.Open(renewed, "p")
	require.NoError(t, err, "the first key seals")
	_, err = before.Open(renewed, "p")
	require.ErrorIs(t, err, secrets.ErrSealed)
}

func TestNewBoxRefusesKeys(t *testing.T) {
	t.Parallel()
	_, err := secrets.NewBox()
	require.ErrorContains(t, err, "none given")
	for _, size := range []int{0, 16, 31, 33} {
		_, err := secrets.NewBox(keyA, bytes.Repeat([]byte{'k'}, size))
		require.ErrorContains(t, err, "encryption key 2")
		require.ErrorContains(t, err, "want 32")
		require.NotContains(t, err.Error(), "kkkk")
	}
}

// A fingerprint tells equal secrets, and tells nothing without the key.
func TestFingerprint(t *testing.T) {
	t.Parallel()
	box := newBox(t, keyA)
	require.Equal(t, box.Fingerprint([]byte("secret")), newBox(t, keyA, keyB).Fingerprint([]byte("secret")))
	require.NotEqual(t, box.Fingerprint([]byte("secret")), box.Fingerprint([]byte("secreT")))
	require.NotEqual(t, box.Fingerprint([]byte("secret")), newBox(t, keyB, keyA).Fingerprint([]byte("secret")), "it is the first key's")
}

// A fingerprint outlives its key's being the first, and the time when
// fingerprints did not name their key.
func TestAFingerprintIsComparedAcrossKeys(t *testing.T) {
	t.Parallel()
	before, during, after := newBox(t, keyA), newBox(t, keyB, keyA), newBox(t, keyB)
	old := before.Fingerprint([]byte("secret"))
	for name, mark := range map[string][]byte{"named": old, "without a name": old[4:]} {
		require.True(t, before.Matches(mark, []byte("secret")), name)
		require.True(t, during.Matches(mark, []byte("secret")), name)
		require.False(t, during.Matches(mark, []byte("secreT")), name)
		require.False(t, after.Matches(mark, []byte("secret")), "%s: its key is gone", name)
	}
	require.False(t, during.Matches(nil, []byte("secret")))
	require.False(t, during.Matches(old[:20], []byte("secret")))
	require.False(t, during.Matches(append(bytes.Clone(during.Fingerprint(nil)[:4]), old[4:]...), []byte("secret")), "the name is part of it")
}

func TestResealingChangesTheKeyAndNothingElse(t *testing.T) {
	t.Parallel()
	before, during, after := newBox(t, keyA), newBox(t, keyB, keyA), newBox(t, keyB)
	rapid.Check(t, func(t *rapid.T) {
		value := rapid.SliceOf(rapid.Byte()).Draw(t, "value")
		resealed, changed, err := during.Reseal(before.Seal(value, "p"), "p")
		require.NoError(t, err)
		require.True(t, changed)
		require.True(t, after.Newest(resealed))
		opened, err := after.Open(resealed, "p")
		require.NoError(t, err)
		require.True(t, bytes.Equal(value, opened))
		again, changed, err := during.Reseal(resealed, "p")
		require.NoError(t, err)
		require.False(t, changed, "once is enough")
		require.Equal(t, resealed, again)
	})
	_, _, err := after.Reseal(before.Seal(nil, "p"), "p")
	require.ErrorIs(t, err, secrets.ErrSealed)
	_, _, err = during.Reseal(before.Seal(nil, "p"), "q")
	require.ErrorIs(t, err, secrets.ErrSealed)
	require.False(t, after.Newest(nil))
	require.False(t, after.Newest([]byte{1, 2, 3, 4}))
}

// A value that is sealed with the newest key but compared by an earlier one
// is not done yet.
func TestResealingAClientSecretRenewsItsFingerprintToo(t *testing.T) {
	t.Parallel()
	before, during := newBox(t, keyA), secrets.Keyring{Box: newBox(t, keyB, keyA)}
	oldPrint, newSealed := before.Fingerprint([]byte("s")), during.Box.Seal([]byte("s"), secrets.ClientSecretPurpose)
	for _, sealed := range [][]byte{before.Seal([]byte("s"), secrets.ClientSecretPurpose), newSealed} {
		require.True(t, during.SameClientSecret(sealed, oldPrint))
		next, mark, changed, err := during.ResealClientSecret(sealed, oldPrint)
		require.NoError(t, err)
		require.True(t, changed)
		require.Equal(t, during.Box.Fingerprint([]byte("s")), mark)
		plain, err := secrets.Keyring{Box: newBox(t, keyB)}.RevealClientSecret(next)
		require.NoError(t, err)
		require.Equal(t, "s", plain)
		_, _, changed, err = during.ResealClientSecret(next, mark)
		require.NoError(t, err)
		require.False(t, changed)
	}
	require.False(t, during.SameClientSecret([]byte("junk"), oldPrint))
	_, _, _, err := during.ResealClientSecret(during.Box.Seal([]byte("s"), "other purpose"), oldPrint) //nolint:dogsled // its error is the point
	require.ErrorIs(t, err, secrets.ErrSealed)
}

func TestKeyringSealsWhatItOpens(t *testing.T) {
	t.Parallel()
	v := loadVectors(t)
	box := newBox(t, keyA)
	keyring := secrets.Keyring{Box: box, Decrypter: v.decrypter(t)}
	sealed, fingerprint, scheme, err := keyring.OpenClientSecret(v.OAEPSHA256MGF1SHA1)
	require.NoError(t, err)
	require.Equal(t, "OAEP-SHA256-MGF1-SHA1", scheme)
	require.Equal(t, box.Fingerprint([]byte(v.Plaintext)), fingerprint)
	require.NotContains(t, string(sealed), v.Plaintext)
	plain, err := box.Open(sealed, secrets.ClientSecretPurpose)
	require.NoError(t, err)
	require.Equal(t, v.Plaintext, string(plain))

	sealed, fingerprint, _, err = keyring.OpenClientSecret("bm90IGVuY3J5cHRlZA==")
	require.Error(t, err)
	require.Nil(t, sealed)
	require.Nil(t, fingerprint)
}

func TestNewKeysAreOfUse(t *testing.T) {
	t.Parallel()
	one, other := secrets.NewToken(), secrets.NewToken()
	require.NotEqual(t, one, other)
	token, err := base64.RawURLEncoding.DecodeString(secrets.NewToken())
	require.NoError(t, err)
	require.Len(t, token, 32)
	key, err := base64.StdEncoding.DecodeString(secrets.NewEncryptionKey())
	require.NoError(t, err)
	newBox(t, key)

	private, err := secrets.NewPrivateKey()
	require.NoError(t, err)
	decrypter, err := secrets.ParsePrivateKey(private)
	require.NoError(t, err)
	_, public, err := decrypter.PublicKey()
	require.NoError(t, err)
	ciphertext, err := secrets.EncryptFor(public, []byte("secret"))
	require.NoError(t, err)
	plain, _, err := decrypter.Decrypt(ciphertext)
	require.NoError(t, err)
	require.Equal(t, "secret", string(plain))
}
