package secrets

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"testing"
	"unicode/utf16"

	"github.com/stretchr/testify/require"
)

// utf16Of is a text with a byte order mark, as Windows' programs save it.
func utf16Of(text string, order binary.AppendByteOrder) string {
	var raw []byte
	for _, unit := range utf16.Encode([]rune("\ufeff" + text)) {
		raw = order.AppendUint16(raw, unit)
	}
	return string(raw)
}

func TestReadFile_IsTheTextWhateverItWasSavedAs(t *testing.T) {
	t.Parallel()
	const key = "k3y-密钥-0123456789"
	for name, raw := range map[string]string{
		"as it is":      key,
		"a line":        key + "\n",
		"Windows":       " " + key + " \r\n\r\n",
		"a mark":        "\ufeff" + key + "\n",
		"two bytes, LE": utf16Of(key+"\r\n", binary.LittleEndian),
		"two bytes, BE": utf16Of(key+"\r\n", binary.BigEndian),
	} {
		path := filepath.Join(t.TempDir(), "key")
		require.NoError(t, os.WriteFile(path, []byte(raw), 0o600))
		text, err := ReadFile(path)
		require.NoError(t, err, name)
		require.Equal(t, key, string(text), name)
	}
	for name, raw := range map[string]string{"NUL": "key\x00", "no UTF-8": "key\xff\xfe", "UTF-16 without a mark": "k\x00e\x00y\x00"} {
		path := filepath.Join(t.TempDir(), "key")
		require.NoError(t, os.WriteFile(path, []byte(raw), 0o600))
		_, err := ReadFile(path)
		require.ErrorContains(t, err, path+": not a text file", name)
		require.NotContains(t, err.Error(), "key\xff", "nothing of it is told")
	}
}
