package secrets_test

import (
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/openkoo/connector/secrets"
)

// rsaVectors are the RSA part of the protocol's vectors, made with the JDK.
type rsaVectors struct {
	PrivateKeyPKCS8, PublicKeySPKI, Plaintext                  string
	OAEPSHA256MGF1SHA256, OAEPSHA256MGF1SHA1, OAEPSHA1MGF1SHA1 string
}

func loadVectors(t *testing.T) rsaVectors {
	t.Helper()
	text, err := os.ReadFile("../marketplace/testdata/signatures.json")
	require.NoError(t, err)
	var vectors struct{ RSA rsaVectors }
	require.NoError(t, json.Unmarshal(text, &vectors))
	require.NotEmpty(t, vectors.RSA.Plaintext)
	return vectors.RSA
}

func (v rsaVectors) pem(t *testing.T, kind, text string) []byte {
	t.Helper()
	der, err := base64.StdEncoding.DecodeString(text)
	require.NoError(t, err)
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}

func (v rsaVectors) decrypter(t *testing.T) *secrets.Decrypter {
	t.Helper()
	decrypter, err := secrets.ParsePrivateKey(v.pem(t, "PRIVATE KEY", v.PrivateKeyPKCS8))
	require.NoError(t, err)
	return decrypter
}
