package marketplace

import (
	"io"
	"testing"

	"github.com/stretchr/testify/require"
)

func writerOf(text string) func(io.Writer) {
	return func(w io.Writer) { _, _ = io.WriteString(w, text) }
}

func signKit(t *testing.T, key, nonce, timestamp, body string) string {
	t.Helper()
	sign, err := SignKit(key, nonce, timestamp, []byte(body))
	require.NoError(t, err)
	return sign
}
