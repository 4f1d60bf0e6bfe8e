package marketplace

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/sha1" //nolint:gosec // the marketplace derives its keys with SHA-1
	"encoding/base64"
	"errors"
	"strings"
	"unicode/utf8"
)

// EncryptType is how V1 encrypts sensitive members (spec/marketplace.md §1.4).
type EncryptType int

// The ways. AES-256 is meant where nothing is said.
const (
	AES256 EncryptType = 1
	AES128 EncryptType = 2
)

// keySize is the key's length in bytes.
func (t EncryptType) keySize() int {
	if t == AES128 {
		return 16
	}
	return 32
}

// sensitiveKey stretches an access key to an AES key as the guide's reference
// code does: it seeds Java's SHA1PRNG with the access key and takes the first
// bytes. An access key is no AES key by itself: it has any length.
func (t EncryptType) sensitiveKey(accessKey string) []byte {
	seed := sha1.Sum([]byte(accessKey)) //nolint:gosec // see above
	state := seed
	var key []byte
	for len(key) < t.keySize() {
		block := sha1.Sum(state[:]) //nolint:gosec // see above
		key = append(key, block[:]...)
		// The next state is state + block + 1, as little-endian numbers.
		carry := 1
		for i := range state {
			sum := int(int8(state[i])) + int(int8(block[i])) + carry
			state[i], carry = byte(sum), sum>>8
		}
	}
	return key[:t.keySize()]
}

var errSensitive = errors.New("does not decrypt with the access key")

// EncryptSensitive encrypts a value as V1 wants it: iv of 16 characters, then
// Base64 of AES-CBC with PKCS#5 padding.
func EncryptSensitive(accessKey, text string, how EncryptType) string {
	return encryptWith(accessKey, text, how, []byte(rand.Text()[:aes.BlockSize]))
}

func encryptWith(accessKey, text string, how EncryptType, iv []byte) string {
	pad := aes.BlockSize - len(text)%aes.BlockSize
	padded := append([]byte(text), bytes.Repeat([]byte{byte(pad)}, pad)...)
	block, err := aes.NewCipher(how.sensitiveKey(accessKey))
	if err != nil {
		panic("marketplace: " + err.Error()) // the key has one of AES's lengths
	}
	cipher.NewCBCEncrypter(block, iv).CryptBlocks(padded, padded)
	return string(iv) + base64.StdEncoding.EncodeToString(padded)
}

// DecryptSensitive opens what EncryptSensitive, or the marketplace, made. It
// may be called only with what a verified call holds: a padding that is told
// wrong tells nothing to somebody without the access key.
func DecryptSensitive(accessKey, sealed string, how EncryptType) (string, error) {
	if len(sealed) <= aes.BlockSize {
		return "", errSensitive
	}
	// A "+" that was not escaped in a URL arrives as a space.
	raw, err := base64.StdEncoding.DecodeString(strings.ReplaceAll(sealed[aes.BlockSize:], " ", "+"))
	if err != nil || len(raw) == 0 || len(raw)%aes.BlockSize != 0 {
		return "", errSensitive
	}
	block, err := aes.NewCipher(how.sensitiveKey(accessKey))
	if err != nil {
		panic("marketplace: " + err.Error()) // the key has one of AES's lengths
	}
	cipher.NewCBCDecrypter(block, []byte(sealed[:aes.BlockSize])).CryptBlocks(raw, raw)
	pad := int(raw[len(raw)-1])
	if pad == 0 || pad > aes.BlockSize || !bytes.Equal(raw[len(raw)-pad:], bytes.Repeat([]byte{byte(pad)}, pad)) {
		return "", errSensitive
	}
	if raw = raw[:len(raw)-pad]; !utf8.Valid(raw) {
		return "", errSensitive
	}
	return string(raw), nil
}
