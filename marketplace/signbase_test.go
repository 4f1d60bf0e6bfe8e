package marketplace

import (
	"encoding/json"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func readVectors(t *testing.T, name string, into any) {
	t.Helper()
	text, err := os.ReadFile("testdata/" + name)
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(text, into))
}

// The vectors were made with Jackson and the JDK.
func TestBaseAndV1Vectors(t *testing.T) {
	t.Parallel()
	var vectors struct {
		Signatures []struct {
			Name, AccessKey, Nonce, Timestamp, Body, BaseV2Signature string
			V1Joined, V1AuthToken, V1Answer, V1BodySign              string
		}
	}
	readVectors(t, "signatures.json", &vectors)
	require.NotEmpty(t, vectors.Signatures)
	for _, v := range vectors.Signatures {
		t.Run(v.Name, func(t *testing.T) {
			t.Parallel()
			members, err := scanBody(v.Body)
			require.NoError(t, err)
			signature, err := SignBase(v.AccessKey, v.Nonce, v.Timestamp, []byte(v.Body))
			require.NoError(t, err)
			require.Equal(t, v.BaseV2Signature, signature)
			for _, given := range []string{v.BaseV2Signature, strings.ToUpper(v.BaseV2Signature)} {
				key, ok := verifyBase([]string{"other", v.AccessKey}, given, v.Nonce, v.Timestamp, []byte(v.Body), members)
				require.True(t, ok)
				require.Equal(t, v.AccessKey, key)
			}
			require.Equal(t, v.V1BodySign, BodySign(v.AccessKey, []byte(v.V1Answer)))
			if v.V1Joined == "" {
				return // the base interface's bodies are V2 only
			}
			params := memberParams(members)
			require.Equal(t, v.V1Joined, JoinV1(params))
			timeStamp := (&form{members: members}).text("timeStamp", 17, mustBeFilled)
			token, err := SignV1(v.AccessKey, timeStamp, []byte(v.Body))
			require.NoError(t, err)
			require.Equal(t, v.V1AuthToken, token)
			key, ok := verifyV1([]string{"other", v.AccessKey}, v.V1AuthToken, timeStamp, params)
			require.True(t, ok)
			require.Equal(t, v.AccessKey, key)
			_, ok = verifyV1([]string{v.AccessKey}, v.V1AuthToken, timeStamp, append(params, Param{"extra", ""}))
			require.False(t, ok, "an added parameter breaks the signature")
		})
	}
}

// A base signature is accepted over the raw body too, and over nothing else.
func TestBaseSignatureCoversTheBody(t *testing.T) {
	t.Parallel()
	const key, nonce, at = "access-key", "n1", "1680508066618"
	body := `{ "b" : 1, "a" : "x" }`
	raw := baseSignature(key, nonce, at, writerOf(body))
	members, err := scanBody(body)
	require.NoError(t, err)
	_, ok := verifyBase([]string{key}, raw, nonce, at, []byte(body), members)
	require.True(t, ok)
	for name, sign := range map[string]string{
		"another body":      baseSignature(key, nonce, at, writerOf(`{"a":"y","b":1}`)),
		"another nonce":     baseSignature(key, "n2", at, writerOf(body)),
		"another timestamp": baseSignature(key, nonce, "1680508066619", writerOf(body)),
		"another key":       baseSignature("access-kez", nonce, at, writerOf(body)),
		"the kit's way":     signKit(t, key, nonce, at, body),
		"nothing":           "",
	} {
		_, ok := verifyBase([]string{key}, sign, nonce, at, []byte(body), members)
		require.False(t, ok, name)
	}
}

// The vectors were made with the JDK: KeyGenerator seeded by SHA1PRNG, and
// AES/CBC/PKCS5Padding.
func TestSensitiveVectors(t *testing.T) {
	t.Parallel()
	var vectors []struct {
		EncryptType                  EncryptType
		AccessKey, Value, IV, Sealed string
	}
	readVectors(t, "sensitive.json", &vectors)
	require.Len(t, vectors, 36)
	for _, v := range vectors {
		require.Equal(t, v.Sealed, encryptWith(v.AccessKey, v.Value, v.EncryptType, []byte(v.IV)))
		opened, err := DecryptSensitive(v.AccessKey, v.Sealed, v.EncryptType)
		require.NoError(t, err)
		require.Equal(t, v.Value, opened)
		opened, err = DecryptSensitive(v.AccessKey, strings.ReplaceAll(v.Sealed, "+", " "), v.EncryptType)
		require.NoError(t, err, "a plus sign that a URL made a space of")
		require.Equal(t, v.Value, opened)
	}
}

func TestSensitiveRoundTrip(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		key := rapid.StringN(1, 60, -1).Draw(t, "key")
		text := rapid.StringN(0, 80, -1).Draw(t, "text")
		how := rapid.SampledFrom([]EncryptType{AES256, AES128}).Draw(t, "how")
		sealed := EncryptSensitive(key, text, how)
		require.NotEqual(t, sealed, EncryptSensitive(key, text, how), "a fresh iv each time")
		opened, err := DecryptSensitive(key, sealed, how)
		require.NoError(t, err)
		require.Equal(t, text, opened)
	})
}

func TestSensitiveRefusesWhatIsNotItsOwn(t *testing.T) {
	t.Parallel()
	for name, sealed := range map[string]string{
		"nothing": "", "iv alone": "A1b2C3d4E5f6G7h8", "not Base64": "A1b2C3d4E5f6G7h8!!!!", "half a block": "A1b2C3d4E5f6G7h8QUJD",
		"plain text": "13800000000", "plain and long": "zhang.san@mail.example.com",
	} {
		_, err := DecryptSensitive("access-key", sealed, AES256)
		require.ErrorIs(t, err, errSensitive, name)
	}
	// With another key the padding is wrong but for one in about 256; then the
	// text is, and what comes out is never what went in.
	sealed := EncryptSensitive("access-key", "13800000000", AES256)
	opened, err := DecryptSensitive("another-key", sealed, AES256)
	require.True(t, err != nil || opened != "13800000000")
}
