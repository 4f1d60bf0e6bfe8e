package secrets

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
)

// KeySize is the length of an encryption key in bytes.
const KeySize = 32

const (
	envelopeVersion = 1
	keyIDSize       = 4
	nonceSize       = 12
)

// ErrSealed means that a sealed value does not open: it was changed, or sealed
// with a key that is not among the configured ones.
var ErrSealed = errors.New("sealed value does not open with the configured encryption keys (ORGSYNC_ENCRYPTION_KEY)")

// Box seals secrets at rest with AES-256-GCM. A sealed value names its key, so
// that keys can be rotated: the first key seals, all of them open.
type Box struct {
	seal [keyIDSize]byte
	keys map[[keyIDSize]byte]boxKey
}

// boxKey is what is made of one key.
type boxKey struct {
	aead        cipher.AEAD
	fingerprint []byte // a key of its own for fingerprints
}

// NewBox makes a box of keys of KeySize bytes, the sealing one first.
func NewBox(keys ...[]byte) (*Box, error) {
	if len(keys) == 0 {
		return nil, errors.New("encryption key: none given")
	}
	box := &Box{keys: make(map[[keyIDSize]byte]boxKey, len(keys))}
	for i, key := range keys {
		made, err := newBoxKey(key)
		if err != nil {
			return nil, fmt.Errorf("encryption key %d: %w", i+1, err)
		}
		box.keys[keyID(key)] = made
	}
	box.seal = keyID(keys[0])
	return box, nil
}

func newBoxKey(key []byte) (made boxKey, err error) {
	if len(key) != KeySize {
		return made, fmt.Errorf("%d bytes, want %d", len(key), KeySize)
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return made, err
	}
	if made.aead, err = cipher.NewGCM(block); err != nil {
		return made, err
	}
	made.fingerprint, err = hkdf.Key(sha256.New, key, nil, "orgsync fingerprint", sha256.Size)
	return made, err
}

// keyID names a key without telling anything of it.
func keyID(key []byte) (id [keyIDSize]byte) {
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte("orgsync key id"))
	copy(id[:], mac.Sum(nil))
	return id
}

// Seal encrypts a value; purpose is authenticated with it and must be given
// again to open it, so that a value cannot be passed off as another.
func (b *Box) Seal(value []byte, purpose string) []byte {
	sealed := make([]byte, 1+keyIDSize+nonceSize, 1+keyIDSize+nonceSize+len(value)+16)
	sealed[0] = envelopeVersion
	copy(sealed[1:], b.seal[:])
	nonce := sealed[1+keyIDSize:]
	_, _ = rand.Read(nonce) // never fails
	return b.keys[b.seal].aead.Seal(sealed, nonce, value, []byte(purpose))
}

// Open decrypts what Seal made, or fails with ErrSealed.
func (b *Box) Open(sealed []byte, purpose string) ([]byte, error) {
	if len(sealed) < 1+keyIDSize+nonceSize || sealed[0] != envelopeVersion {
		return nil, ErrSealed
	}
	key, ok := b.keys[[keyIDSize]byte(sealed[1:1+keyIDSize])]
	if !ok {
		return nil, ErrSealed
	}
	nonce := sealed[1+keyIDSize : 1+keyIDSize+nonceSize]
	value, err := key.aead.Open(nil, nonce, sealed[1+keyIDSize+nonceSize:], []byte(purpose))
	if err != nil {
		return nil, ErrSealed
	}
	return value, nil
}

// Newest reports whether a sealed value was sealed with the first key.
func (b *Box) Newest(sealed []byte) bool {
	return len(sealed) > keyIDSize && sealed[0] == envelopeVersion && [keyIDSize]byte(sealed[1:1+keyIDSize]) == b.seal
}

// Reseal seals a value with the first key, if another sealed it. It fails with
// ErrSealed.
func (b *Box) Reseal(sealed []byte, purpose string) (resealed []byte, changed bool, err error) {
	if b.Newest(sealed) {
		return sealed, false, nil
	}
	value, err := b.Open(sealed, purpose)
	if err != nil {
		return nil, false, err
	}
	return b.Seal(value, purpose), true, nil
}

// Fingerprint tells whether two secrets are equal without opening them. It is
// made with the first key, which it names, and useless without that key.
func (b *Box) Fingerprint(value []byte) []byte {
	return append(bytes.Clone(b.seal[:]), b.keys[b.seal].mark(value)...)
}

func (k boxKey) mark(value []byte) []byte {
	mac := hmac.New(sha256.New, k.fingerprint)
	mac.Write(value)
	return mac.Sum(nil)
}

// Matches reports whether a fingerprint is that of a value, whichever of the
// keys it was made with. Fingerprints were once written without their key's name.
func (b *Box) Matches(fingerprint, value []byte) bool {
	if len(fingerprint) == keyIDSize+sha256.Size {
		key, ok := b.keys[[keyIDSize]byte(fingerprint[:keyIDSize])]
		return ok && hmac.Equal(fingerprint[keyIDSize:], key.mark(value))
	}
	for _, key := range b.keys {
		if hmac.Equal(fingerprint, key.mark(value)) {
			return true
		}
	}
	return false
}
