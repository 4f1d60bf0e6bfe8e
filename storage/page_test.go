package storage_test

import (
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/openkoo/connector/storage"
)

func TestACursorNamesItsParts(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(r *rapid.T) {
		parts := rapid.SliceOfN(rapid.String(), 1, 4).Draw(r, "parts")
		back, err := storage.DecodeCursor(storage.EncodeCursor(parts...), len(parts))
		require.NoError(r, err)
		require.Equal(r, parts, back)
		_, err = storage.DecodeCursor(storage.EncodeCursor(parts...), len(parts)+1)
		require.ErrorIs(r, err, storage.ErrBadCursor)
	})
}

func TestAPageHasBounds(t *testing.T) {
	t.Parallel()
	for limit, size := range map[int]int{-1: 1000, 0: 1000, 1: 1, 1000: 1000, 1001: 1000} {
		require.Equal(t, size, storage.Page{Limit: limit}.Size())
	}
}

func FuzzDecodeCursor(f *testing.F) {
	f.Add(storage.EncodeCursor("a", "b"))
	f.Add("!")
	f.Fuzz(func(t *testing.T, cursor string) {
		parts, err := storage.DecodeCursor(cursor, 2)
		if err != nil {
			require.ErrorIs(t, err, storage.ErrBadCursor)
			return
		}
		require.Len(t, parts, 2)
	})
}
