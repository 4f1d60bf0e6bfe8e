package mongo_test

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/openkoo/connector/storage/mongo"
)

// Whatever the password is and wherever an error repeats it, written or decoded,
// it is not in the message; the error keeps its class.
func FuzzNoErrorHoldsThePassword(f *testing.F) {
	for _, password := range []string{"secret", "p@ss:w/rd", "中文", "%", "a b", "x"} {
		f.Add(password)
	}
	f.Fuzz(func(t *testing.T, password string) {
		if password == "" || strings.Contains("connect mongodb://user:xxxxx@host/: xxxxx: context canceled", password) { //nolint:gocritic // the password may be any part of it
			return // what the message says anyway
		}
		uri := (&url.URL{Scheme: "mongodb", User: url.UserPassword("user", password), Host: "host", Path: "/"}).String()
		err := mongo.Redact(uri, fmt.Errorf("connect %s: %s: %w", uri, password, context.Canceled))
		require.NotContains(t, err.Error(), password)
		require.ErrorIs(t, err, context.Canceled)
	})
}

func TestAnErrorWithoutThePasswordStays(t *testing.T) {
	t.Parallel()
	err := errors.New("no route to host")
	for _, uri := range []string{"", "mongodb://", "mongodb://host/", "mongodb://user@host/", "mongodb://user:pw@host/", "user:pw@host", "@", ":@"} {
		require.Equal(t, err, mongo.Redact(uri, err), uri)
	}
}
