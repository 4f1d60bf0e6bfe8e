package secrets_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha512"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/openkoo/connector/directory"
	"github.com/openkoo/connector/secrets"
)

// The vectors were made with the JDK, in each of the ways it may encrypt.
func TestDecryptOpensEverySchemeOfTheVectors(t *testing.T) {
	t.Parallel()
	v := loadVectors(t)
	for scheme, ciphertext := range map[string]string{
		"OAEP-SHA256-MGF1-SHA256": v.OAEPSHA256MGF1SHA256,
		"OAEP-SHA256-MGF1-SHA1":   v.OAEPSHA256MGF1SHA1,
		"OAEP-SHA1-MGF1-SHA1":     v.OAEPSHA1MGF1SHA1,
	} {
		t.Run(scheme, func(t *testing.T) {
			t.Parallel()
			for _, form := range []string{ciphertext, " " + ciphertext + "\n", ciphertext[:76] + "\r\n" + ciphertext[76:]} {
				plain, used, err := v.decrypter(t).Decrypt(form)
				require.NoError(t, err)
				require.Equal(t, v.Plaintext, string(plain))
				require.Equal(t, scheme, used)
			}
		})
	}
}

func TestDecryptRefuses(t *testing.T) {
	t.Parallel()
	v := loadVectors(t)
	raw, err := base64.StdEncoding.DecodeString(v.OAEPSHA256MGF1SHA256)
	require.NoError(t, err)
	changed := append([]byte{}, raw...)
	changed[100] ^= 1
	public, err := x509.ParsePKIXPublicKey(mustDecode(t, v.PublicKeySPKI))
	require.NoError(t, err)
	otherHash, err := rsa.EncryptOAEP(sha512.New(), rand.Reader, public.(*rsa.PublicKey), []byte(v.Plaintext), nil)
	require.NoError(t, err)
	cases := map[string]string{
		"empty":           "",
		"not Base64":      "!!! no Base64 !!!",
		"cut short":       v.OAEPSHA256MGF1SHA256[:128],
		"one bit changed": base64.StdEncoding.EncodeToString(changed),
		"longer than N":   base64.StdEncoding.EncodeToString(append(raw, 0)),
		"another scheme":  base64.StdEncoding.EncodeToString(otherHash),
		"not encrypted":   base64.StdEncoding.EncodeToString([]byte(v.Plaintext)),
		"all zero":        base64.StdEncoding.EncodeToString(make([]byte, len(raw))),
		"bigger than N":   base64.StdEncoding.EncodeToString([]byte(strings.Repeat("\xff", len(raw)))),
		"of odd length":   strings.TrimRight(v.OAEPSHA256MGF1SHA256, "=")[:509],
	}
	for name, ciphertext := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			plain, _, err := v.decrypter(t).Decrypt(ciphertext)
			require.ErrorIs(t, err, directory.ErrClientSecret)
			require.Nil(t, plain)
			require.NotContains(t, err.Error(), v.Plaintext)
		})
	}
}

func TestPublicKeyIsTheOneOfTheVectors(t *testing.T) {
	t.Parallel()
	v := loadVectors(t)
	spki, asPEM, err := v.decrypter(t).PublicKey()
	require.NoError(t, err)
	require.Equal(t, v.PublicKeySPKI, spki)
	require.Equal(t, string(v.pem(t, "PUBLIC KEY", v.PublicKeySPKI)), string(asPEM))
}

func TestEncryptForIsOpenedByThePrivateHalf(t *testing.T) {
	t.Parallel()
	v := loadVectors(t)
	public := v.pem(t, "PUBLIC KEY", v.PublicKeySPKI)
	first, err := secrets.EncryptFor(public, []byte("客户端"))
	require.NoError(t, err)
	second, err := secrets.EncryptFor(public, []byte("客户端"))
	require.NoError(t, err)
	require.NotEqual(t, first, second, "OAEP is randomised")
	plain, scheme, err := v.decrypter(t).Decrypt(first)
	require.NoError(t, err)
	require.Equal(t, "客户端", string(plain))
	require.Equal(t, "OAEP-SHA256-MGF1-SHA256", scheme)

	_, err = secrets.EncryptFor([]byte("no PEM"), nil)
	require.ErrorContains(t, err, "no PEM block")
	_, err = secrets.EncryptFor(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: []byte("junk")}), nil)
	require.ErrorContains(t, err, "public key")
	_, err = secrets.EncryptFor(ecPublicKey(t), nil)
	require.ErrorContains(t, err, "want RSA")
	_, err = secrets.EncryptFor(public, make([]byte, 400))
	require.ErrorContains(t, err, "encrypt")
}

func TestParsePrivateKeySaysWhatItWants(t *testing.T) {
	t.Parallel()
	short, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	shortDER, err := x509.MarshalPKCS8PrivateKey(short)
	require.NoError(t, err)
	elliptic, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	ellipticDER, err := x509.MarshalPKCS8PrivateKey(elliptic)
	require.NoError(t, err)
	block := func(kind string, der []byte) []byte { return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}) }
	cases := map[string]struct {
		text []byte
		want string
	}{
		"no PEM":           {[]byte("MIIG/QIBADANBgkqhkiG"), "no PEM block found"},
		"empty":            {nil, "no PEM block found"},
		"a public key":     {block("PUBLIC KEY", shortDER), `"PUBLIC KEY"; want PRIVATE KEY`},
		"encrypted":        {block("ENCRYPTED PRIVATE KEY", shortDER), "want PRIVATE KEY"},
		"junk":             {block("PRIVATE KEY", []byte("junk")), "private key: "},
		"junk as PKCS#1":   {block("RSA PRIVATE KEY", []byte("junk")), "private key: "},
		"an elliptic key":  {block("PRIVATE KEY", ellipticDER), "want RSA"},
		"too short":        {block("PRIVATE KEY", shortDER), "2048 bits; the marketplace wants at least 3072"},
		"too short PKCS#1": {block("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(short)), "2048 bits"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := secrets.ParsePrivateKey(c.text)
			require.ErrorContains(t, err, c.want)
			require.NotContains(t, err.Error(), base64.StdEncoding.EncodeToString(shortDER)[:40], "no key in an error")
		})
	}
}

func TestParsePrivateKeyTakesPKCS1(t *testing.T) {
	t.Parallel()
	v := loadVectors(t)
	parsed, err := x509.ParsePKCS8PrivateKey(mustDecode(t, v.PrivateKeyPKCS8))
	require.NoError(t, err)
	decrypter, err := secrets.ParsePrivateKey(pem.EncodeToMemory(&pem.Block{
		Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(parsed.(*rsa.PrivateKey)),
	}))
	require.NoError(t, err)
	plain, _, err := decrypter.Decrypt(v.OAEPSHA1MGF1SHA1)
	require.NoError(t, err)
	require.Equal(t, v.Plaintext, string(plain))
}

func mustDecode(t *testing.T, text string) []byte {
	t.Helper()
	raw, err := base64.StdEncoding.DecodeString(text)
	require.NoError(t, err)
	return raw
}

func ecPublicKey(t *testing.T) []byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	der, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	require.NoError(t, err)
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
}
