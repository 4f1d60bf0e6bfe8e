package instance_test

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/openkoo/connector/directory"
	"github.com/openkoo/connector/instance"
	"github.com/openkoo/connector/secrets"
)

// Whatever the service has sealed is sealed anew; an instance that another
// reader holds is not changed under it.
func TestEverythingAnInstanceKeepsSealedIsSealedAnew(t *testing.T) {
	t.Parallel()
	oldKey, newKey := make([]byte, secrets.KeySize), bytes.Repeat([]byte{1}, secrets.KeySize)
	box := func(keys ...[]byte) *secrets.Box {
		made, err := secrets.NewBox(keys...)
		require.NoError(t, err)
		return made
	}
	old, during, after := box(oldKey), box(newKey, oldKey), box(newKey)
	was := directory.Instance{
		ID: "i", SealedContact: old.Seal([]byte("contact"), "instance contact"),
		App:      &directory.AppInfo{FrontEndURL: "https://a", SealedPassword: old.Seal([]byte("password"), "instance password")},
		Licenses: map[string]directory.License{"e1": {SealedText: old.Seal([]byte("license"), "instance license")}, "e2": {}},
	}
	next := was
	changed, err := instance.Reseal(during, &next)
	require.NoError(t, err)
	require.True(t, changed)
	for want, sealed := range map[string][]byte{"contact": next.SealedContact, "password": next.App.SealedPassword, "license": next.Licenses["e1"].SealedText} {
		plain, err := after.Open(sealed, "instance "+want)
		require.NoError(t, err)
		require.Equal(t, want, string(plain))
	}
	require.Empty(t, next.Licenses["e2"].SealedText)
	require.Equal(t, "https://a", next.App.FrontEndURL)
	require.False(t, during.Newest(was.App.SealedPassword))
	require.False(t, during.Newest(was.Licenses["e1"].SealedText))

	changed, err = instance.Reseal(during, &next)
	require.NoError(t, err)
	require.False(t, changed)
	changed, err = instance.Reseal(during, &directory.Instance{ID: "bare"})
	require.NoError(t, err)
	require.False(t, changed)

	_, err = instance.Reseal(after, &was)
	require.ErrorIs(t, err, secrets.ErrSealed)
	require.ErrorContains(t, err, "instance contact of instance i")
}
