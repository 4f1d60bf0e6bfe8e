package marketplace

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// The vectors were made with Jackson and the JDK.
func TestVectors(t *testing.T) {
	t.Parallel()
	var vectors struct {
		Signatures []struct {
			Name, AccessKey, Nonce, Timestamp, Body, Canonical, KitV2Sign string
		}
	}
	readVectors(t, "signatures.json", &vectors)
	require.NotEmpty(t, vectors.Signatures)
	for _, v := range vectors.Signatures {
		t.Run(v.Name, func(t *testing.T) {
			t.Parallel()
			canonical, err := Canonical([]byte(v.Body))
			require.NoError(t, err)
			require.Equal(t, v.Canonical, string(canonical))
			sign, err := SignKit(v.AccessKey, v.Nonce, v.Timestamp, []byte(v.Body))
			require.NoError(t, err)
			require.Equal(t, v.KitV2Sign, sign)
			members, err := scanBody(v.Body)
			require.NoError(t, err)
			key, ok := verifyKit([]string{"other", v.AccessKey}, stamp{nonce: v.Nonce, signature: v.KitV2Sign, timestamp: v.Timestamp}, []byte(v.Body), members)
			require.True(t, ok)
			require.Equal(t, v.AccessKey, key)
		})
	}
}
