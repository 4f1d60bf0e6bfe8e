package storagetest

import (
	"github.com/stretchr/testify/require"

	"github.com/openkoo/connector/directory"
	"github.com/openkoo/connector/storage"
)

// application applies an application with a sealed secret.
func (b *bundle) application(sealed string, version int64) {
	b.Helper()
	b.apply(acme, &directory.Plan{Applications: []directory.Application{{
		AppID: "a/p p", ClientID: "cid", SealedSecret: []byte(sealed), SecretFingerprint: []byte("print"), SecretScheme: "s",
		Meta: directory.Meta{Version: version, SourceTime: 5},
	}}})
}

func (b *bundle) applicationNow() directory.Application {
	b.Helper()
	b.readFeed()
	found, _, err := b.store.Applications(b.ctx, storage.EntityFilter{Dataset: directory.Prod}, storage.Page{})
	require.NoError(b, err)
	require.Len(b, found, 1)
	return found[0].Entity
}

func (b *bundle) reseal(appID, was, next string) error {
	b.Helper()
	resealer, ok := b.store.(storage.Resealer)
	require.True(b, ok, "every store can be sealed anew")
	return resealer.Reseal(b.ctx, acme, appID, storage.SealedSecret{Sealed: []byte(was), Fingerprint: []byte("print")},
		storage.SealedSecret{Sealed: []byte(next), Fingerprint: []byte("next print")})
}

var resealTests = map[string]func(*bundle){
	"a secret sealed anew changes nothing else": func(b *bundle) {
		b.application("old", 1)
		was := b.applicationNow()
		require.NoError(b, b.reseal("a/p p", "old", "new"))
		was.SealedSecret, was.SecretFingerprint = []byte("new"), []byte("next print")
		b.reopen()
		require.Equal(b, was, b.applicationNow())
		changes, _, err := b.store.Changes(b.ctx, storage.Place{Seq: was.Seq}, 10)
		require.NoError(b, err)
		require.Empty(b, changes, "nobody need hear of it")
	},
	"a secret that changed meanwhile is left alone": func(b *bundle) {
		b.application("old", 1)
		b.application("pushed", 2)
		require.ErrorIs(b, b.reseal("a/p p", "old", "new"), storage.ErrConflict)
		require.Equal(b, "pushed", string(b.applicationNow().SealedSecret))
		require.NoError(b, b.reseal("a/p p", "pushed", "new"))
		require.ErrorIs(b, b.reseal("a/p p", "new", "newer"), storage.ErrConflict, "the fingerprint is part of it")
	},
	"an application that is not there": func(b *bundle) {
		require.ErrorIs(b, b.reseal("nobody", "old", "new"), storage.ErrNotFound)
		b.application("old", 1)
		require.ErrorIs(b, b.reseal("nobody", "old", "new"), storage.ErrNotFound)
	},
}
