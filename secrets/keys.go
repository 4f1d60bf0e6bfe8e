package secrets

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
)

// NewToken makes a random secret of 32 bytes in URL-safe Base64: an access key
// or an admin token.
func NewToken() string {
	raw := make([]byte, 32)
	_, _ = rand.Read(raw) // never fails
	return base64.RawURLEncoding.EncodeToString(raw)
}

// NewEncryptionKey makes a key for a Box, in Base64 as ENCRYPTION_KEY wants it.
func NewEncryptionKey() string {
	raw := make([]byte, KeySize)
	_, _ = rand.Read(raw) // never fails
	return base64.StdEncoding.EncodeToString(raw)
}

// NewPrivateKey makes an RSA key of MinRSABits as PKCS#8 PEM.
func NewPrivateKey() ([]byte, error) {
	key, err := rsa.GenerateKey(rand.Reader, MinRSABits)
	if err != nil {
		return nil, fmt.Errorf("generate RSA key: %w", err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("encode RSA key: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
}

// Keyring opens client secrets and seals them for keeping.
type Keyring struct {
	Box       *Box
	Decrypter *Decrypter
}

// ClientSecretPurpose binds sealed client secrets to their use.
const ClientSecretPurpose = "client secret"

// OpenClientSecret implements authsync.Secrets.
func (k Keyring) OpenClientSecret(ciphertext string) (sealed, fingerprint []byte, scheme string, err error) {
	plain, scheme, err := k.Decrypter.Decrypt(ciphertext)
	if err != nil {
		return nil, nil, "", err
	}
	return k.Box.Seal(plain, ClientSecretPurpose), k.Box.Fingerprint(plain), scheme, nil
}

// SameClientSecret implements authsync.Secrets.
func (k Keyring) SameClientSecret(sealed, fingerprint []byte) bool {
	plain, err := k.Box.Open(sealed, ClientSecretPurpose)
	return err == nil && k.Box.Matches(fingerprint, plain)
}

// RevealClientSecret opens a client secret that OpenClientSecret has sealed. It
// fails with ErrSealed.
func (k Keyring) RevealClientSecret(sealed []byte) (string, error) {
	plain, err := k.Box.Open(sealed, ClientSecretPurpose)
	return string(plain), err
}

// ResealClientSecret seals a client secret with the newest key and makes its
// fingerprint anew, if either is of an earlier key. It fails with ErrSealed.
func (k Keyring) ResealClientSecret(sealed, fingerprint []byte) (newSealed, newFingerprint []byte, changed bool, err error) {
	plain, err := k.Box.Open(sealed, ClientSecretPurpose)
	if err != nil {
		return nil, nil, false, err
	}
	newFingerprint = k.Box.Fingerprint(plain)
	if k.Box.Newest(sealed) && bytes.Equal(fingerprint, newFingerprint) {
		return sealed, fingerprint, false, nil
	}
	return k.Box.Seal(plain, ClientSecretPurpose), newFingerprint, true, nil
}
