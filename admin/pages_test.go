package admin_test

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/openkoo/connector/admin"
	"github.com/openkoo/connector/directory"
	"github.com/openkoo/connector/storage"
)

// holed is a store of which one user and one change cannot be read.
type holed struct{ storage.Reader }

func (holed) hole() error {
	var unreadable storage.Unreadable
	unreadable.Add(`"bad" of prod`, errors.New("torn"))
	return unreadable.Err()
}

func (r holed) Users(ctx context.Context, f storage.EntityFilter, p storage.Page) ([]storage.Scoped[directory.User], string, error) {
	found, next, _ := r.Reader.Users(ctx, f, p)
	return found, next, r.hole()
}

func (r holed) Changes(ctx context.Context, after storage.Place, limit int) ([]storage.Change, storage.Place, error) {
	found, next, _ := r.Reader.Changes(ctx, after, limit-1)
	return found, next, r.hole()
}

// A push of a million entities is read a page at a time.
func TestPush_PagesItsDecisions(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	full := w.bind(acme, 5)
	path, seen := "/api/v1/pushes/"+full+"?limit=2", 0
	for cursor := ""; ; {
		page := read[struct {
			ID        string
			Decisions []directory.Decision
			Cursor    string
		}](w, path+"&cursor="+cursor)
		require.Equal(t, full, page.ID)
		require.LessOrEqual(t, len(page.Decisions), 2)
		seen += len(page.Decisions)
		if cursor = page.Cursor; cursor == "" {
			break
		}
	}
	require.Equal(t, 5, seen)
	w.problem(w.call(http.MethodGet, path+"&cursor=none", ""), http.StatusBadRequest)
}

// What cannot be read is left out of its page, counted, and logged once.
func TestLists_LeaveOutWhatCannotBeRead(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(o *admin.Options) { o.Reader = holed{o.Reader} })
	w.bind(acme, 4)
	for range 2 {
		page := w.call(http.MethodGet, "/api/v1/users", "")
		require.Equal(t, http.StatusOK, page.Code)
		require.Contains(t, page.Body.String(), `"userName":"zhang"`)
		require.Contains(t, page.Body.String(), `"unreadable":1`)
		feed := w.call(http.MethodGet, "/api/v1/changes?limit=3", "").Body.String()
		require.Contains(t, feed, `"unreadable":1`)
		require.Contains(t, feed, `"more":true`)
	}
	require.Equal(t, 1, strings.Count(w.log.String(), "what is stored of it cannot be read"))
}
