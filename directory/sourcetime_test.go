package directory_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/openkoo/connector/directory"
)

// What is stored can be read, whatever year somebody has got past the door.
func TestSourceTime_IsReadAsWritten(t *testing.T) {
	t.Parallel()
	years := func(year int) int64 { return time.Date(year, 1, 1, 0, 0, 0, 0, time.UTC).UnixMilli() }
	rapid.Check(t, func(t *rapid.T) {
		at := directory.SourceTime(rapid.Int64Range(years(-20_000), years(200_000)).Draw(t, "at"))
		text, err := json.Marshal(at)
		require.NoError(t, err)
		var read directory.SourceTime
		require.NoError(t, json.Unmarshal(text, &read), "%s", text)
		require.Equal(t, at, read, "%s", text)
	})
	for _, text := range []string{`""`, `"x"`, `"2026"`, `"2026-02-30T00:00:00.000Z"`, `7`, `"-"`} {
		require.Error(t, json.Unmarshal([]byte(text), new(directory.SourceTime)), text)
	}
}
