package secrets

import (
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
	seal        [keyIDSize]byte
	keys        map[[keyIDSize]byte]cipher.AEAD
	fingerprint []byte
}

// NewBox makes a box of keys of KeySize bytes, the sealing one first.
func NewBox(keys ...[]byte) (*Box, error) {
	if len(keys) == 0 {
		return nil, errors.New("encryption key: none given")
	}
	box := &Box{keys: make(map[[keyIDSize]byte]cipher.AEAD, len(keys))}
	for i, key := range keys {
		if len(key) != KeySize {
			return nil, fmt.Errorf("encryption key %d: %d bytes, want %d", i+1, len(key), KeySize)
		}
		block, err := aes.NewCipher(key)
		if err != nil {
			return nil, fmt.Errorf("encryption key %d: %w", i+1, err)
		}
		aead, err := cipher.NewGCM(block)
		if err != nil {
			return nil, fmt.Errorf("encryption key %d: %w", i+1, err)
		}
		id := keyID(key)
		box.keys[id] = aead
		if i > 0 {
			continue
		}
		box.seal = id
		if box.fingerprint, err = hkdf.Key(sha256.New, key, nil, "orgsync fingerprint", sha256.Size); err != nil {
			return nil, fmt.Errorf("encryption key: %w", err)
		}
	}
	return box, nil
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
	return b.keys[b.seal].Seal(sealed, nonce, value, []byte(purpose))
}

// Open decrypts what Seal made, or fails with ErrSealed.
func (b *Box) Open(sealed []byte, purpose string) ([]byte, error) {
	if len(sealed) < 1+keyIDSize+nonceSize || sealed[0] != envelopeVersion {
		return nil, ErrSealed
	}
	aead, ok := b.keys[[keyIDSize]byte(sealed[1:1+keyIDSize])]
	if !ok {
		return nil, ErrSealed
	}
	nonce := sealed[1+keyIDSize : 1+keyIDSize+nonceSize]
	value, err := aead.Open(nil, nonce, sealed[1+keyIDSize+nonceSize:], []byte(purpose))
	if err != nil {
		return nil, ErrSealed
	}
	return value, nil
}

// Fingerprint tells whether two secrets are equal without opening them. It is
// useless without the key.
func (b *Box) Fingerprint(value []byte) []byte {
	mac := hmac.New(sha256.New, b.fingerprint)
	mac.Write(value)
	return mac.Sum(nil)
}
