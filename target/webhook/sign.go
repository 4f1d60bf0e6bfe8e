package webhook

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
)

// secretPrefix marks a symmetric secret (Standard Webhooks, "Signature scheme").
const secretPrefix = "whsec_"

// A secret has 24 to 64 bytes (Standard Webhooks, "Signature scheme").
const minSecret, maxSecret = 24, 64

// maxSecrets is a new secret and the one that it replaces.
const maxSecrets = 2

// signer signs with every secret it has.
type signer [][]byte

func newSigner(secrets []string) (signer, error) {
	if len(secrets) == 0 {
		return nil, errors.New("secrets: none; want whsec_ and Base64 of 24 to 64 random bytes, for example `echo whsec_$(openssl rand -base64 32)`")
	}
	if len(secrets) > maxSecrets {
		return nil, fmt.Errorf("secrets: %d; want at most two, the new one first", len(secrets))
	}
	var s signer
	var errs []error
	for i, secret := range secrets {
		encoded, ok := strings.CutPrefix(secret, secretPrefix)
		key, err := base64.StdEncoding.DecodeString(encoded)
		switch {
		case !ok || err != nil: // the decoder's error would quote the secret
			errs = append(errs, fmt.Errorf("secrets[%d]: want whsec_ and standard Base64", i))
		case len(key) < minSecret || len(key) > maxSecret:
			errs = append(errs, fmt.Errorf("secrets[%d]: %d bytes; want 24 to 64", i, len(key)))
		}
		s = append(s, key)
	}
	return s, errors.Join(errs...)
}

// sign makes the header webhook-signature: one signature for each secret.
func (s signer) sign(id, timestamp string, body []byte) string {
	signatures := make([]string, len(s))
	for i, key := range s {
		mac := hmac.New(sha256.New, key)
		mac.Write([]byte(id + "." + timestamp + "."))
		mac.Write(body)
		signatures[i] = "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil))
	}
	return strings.Join(signatures, " ")
}
