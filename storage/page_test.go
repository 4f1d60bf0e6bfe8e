package storage_test

import (
	"encoding/json"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/openkoo/connector/directory"
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

// Pages of decisions are all of them, each once, in their order.
func TestDecodeDecisions_PagesAreTheWhole(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(r *rapid.T) {
		var all, paged []directory.Decision
		for i := range rapid.IntRange(0, 20).Draw(r, "decisions") {
			all = append(all, directory.Decision{Kind: directory.KindUser, Key: fmt.Sprint(i), Action: directory.ActionCreate})
		}
		var text []byte
		if all != nil {
			var err error
			text, err = json.Marshal(all)
			require.NoError(r, err)
		}
		page := storage.Page{Limit: rapid.IntRange(1, 7).Draw(r, "limit")}
		for first := true; first || page.Cursor != ""; first = false {
			part, next, err := storage.DecodeDecisions(text, page)
			require.NoError(r, err)
			require.LessOrEqual(r, len(part), page.Limit)
			paged, page.Cursor = append(paged, part...), next
		}
		require.Equal(r, all, paged)
	})
	for _, cursor := range []string{"!", storage.EncodeCursor("x"), storage.EncodeCursor("-1"), storage.EncodeCursor("1", "2")} {
		_, _, err := storage.DecodeDecisions([]byte("[]"), storage.Page{Cursor: cursor})
		require.ErrorIs(t, err, storage.ErrBadCursor)
	}
	_, _, err := storage.DecodeDecisions([]byte(`[{"kind":`), storage.Page{})
	require.Error(t, err)
}
