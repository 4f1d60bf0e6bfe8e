package secrets

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1" //nolint:gosec // the marketplace may use OAEP with SHA-1 (spec/marketplace.md §3.2)
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"hash"
	"strings"

	"github.com/openkoo/connector/directory"
)

// MinRSABits is the shortest key the marketplace accepts (spec/marketplace.md §3.2).
const MinRSABits = 3072

// scheme is a variant of RSA-OAEP. The guides do not say which one is used.
type scheme struct {
	name    string
	options rsa.OAEPOptions
}

var schemes = []scheme{
	{"OAEP-SHA256-MGF1-SHA256", rsa.OAEPOptions{Hash: crypto.SHA256, MGFHash: crypto.SHA256}},
	{"OAEP-SHA256-MGF1-SHA1", rsa.OAEPOptions{Hash: crypto.SHA256, MGFHash: crypto.SHA1}},
	{"OAEP-SHA1-MGF1-SHA1", rsa.OAEPOptions{Hash: crypto.SHA1, MGFHash: crypto.SHA1}},
}

var _ = []func() hash.Hash{sha1.New, sha256.New} // registers the hashes

// Decrypter opens what the marketplace encrypted with the seller's public key.
type Decrypter struct {
	key *rsa.PrivateKey
}

// ParsePrivateKey reads a PEM private key, PKCS#8 or PKCS#1, of at least
// MinRSABits.
func ParsePrivateKey(text []byte) (*Decrypter, error) {
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, errors.New("private key: no PEM block found; want -----BEGIN PRIVATE KEY-----")
	}
	var parsed any
	var err error
	switch block.Type {
	case "PRIVATE KEY":
		parsed, err = x509.ParsePKCS8PrivateKey(block.Bytes)
	case "RSA PRIVATE KEY":
		parsed, err = x509.ParsePKCS1PrivateKey(block.Bytes)
	default:
		return nil, fmt.Errorf("private key: PEM block is %q; want PRIVATE KEY (PKCS#8) or RSA PRIVATE KEY (PKCS#1)", block.Type)
	}
	if err != nil {
		return nil, fmt.Errorf("private key: %w", err)
	}
	key, ok := parsed.(*rsa.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("private key: %T; want RSA", parsed)
	}
	if bits := key.N.BitLen(); bits < MinRSABits {
		return nil, fmt.Errorf("private key: %d bits; the marketplace wants at least %d (make one with `orgsync keys`)", bits, MinRSABits)
	}
	return &Decrypter{key: key}, nil
}

// Decrypt opens a Base64 ciphertext and names the scheme it was made with. It
// fails with directory.ErrClientSecret.
func (d *Decrypter) Decrypt(ciphertext string) (plain []byte, schemeName string, err error) {
	raw, err := base64.StdEncoding.DecodeString(strings.TrimSpace(ciphertext))
	if err != nil {
		return nil, "", fmt.Errorf("%w: not Base64", directory.ErrClientSecret)
	}
	for _, s := range schemes {
		if plain, err := d.key.Decrypt(nil, raw, &s.options); err == nil {
			return plain, s.name, nil
		}
	}
	return nil, "", directory.ErrClientSecret
}

// PublicKey is the public half in the forms the seller console takes: Base64 of
// the SPKI structure, and PEM.
func (d *Decrypter) PublicKey() (spki string, asPEM []byte, err error) {
	der, err := x509.MarshalPKIXPublicKey(&d.key.PublicKey)
	if err != nil {
		return "", nil, fmt.Errorf("public key: %w", err)
	}
	return base64.StdEncoding.EncodeToString(der), pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), nil
}

// EncryptFor encrypts as the marketplace does, with the seller's public key
// given as PEM. The sending side of tests, demo and CLI uses it.
func EncryptFor(publicPEM []byte, plain []byte) (string, error) {
	block, _ := pem.Decode(publicPEM)
	if block == nil {
		return "", errors.New("public key: no PEM block found")
	}
	parsed, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		return "", fmt.Errorf("public key: %w", err)
	}
	key, ok := parsed.(*rsa.PublicKey)
	if !ok {
		return "", fmt.Errorf("public key: %T; want RSA", parsed)
	}
	ciphertext, err := rsa.EncryptOAEP(sha256.New(), rand.Reader, key, plain, nil)
	if err != nil {
		return "", fmt.Errorf("encrypt: %w", err)
	}
	return base64.StdEncoding.EncodeToString(ciphertext), nil
}
