package authsync_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/openkoo/connector/authsync"
	"github.com/openkoo/connector/directory"
	"github.com/openkoo/connector/directory/directorytest"
	"github.com/openkoo/connector/secrets"
	usersync "github.com/openkoo/connector/userSync"
)

func push(flag directory.Flag, at directory.SourceTime, payload directory.Payload) *directory.Push {
	return &directory.Push{Scope: directorytest.Scope, Flag: flag, SourceTime: at, Payload: payload}
}

// keyring is a real one, with a client secret as the marketplace sends it.
func keyring(t *testing.T, secret string) (ring secrets.Keyring, sent string) {
	t.Helper()
	private, err := secrets.NewPrivateKey()
	require.NoError(t, err)
	ring.Decrypter, err = secrets.ParsePrivateKey(private)
	require.NoError(t, err)
	ring.Box, err = secrets.NewBox(make([]byte, secrets.KeySize))
	require.NoError(t, err)
	_, public, err := ring.Decrypter.PublicKey()
	require.NoError(t, err)
	sent, err = secrets.EncryptFor(public, []byte(secret))
	require.NoError(t, err)
	return ring, sent
}

// A secret is opened before the push has its turn, kept sealed, and can be
// opened again.
func TestACredentialIsKeptSealed(t *testing.T) {
	t.Parallel()
	ring, sent := keyring(t, "open sesame")
	planner, memory := authsync.New(usersync.Planner{}, ring), directorytest.NewMemory()
	credential := push(directory.FlagAdd, 1, &directory.ApplicationPush{AppID: "crm", ClientID: "c", ClientSecret: sent})
	require.NoError(t, planner.Prepare(t.Context(), credential))
	plan, err := planner.Plan(t.Context(), memory, credential)
	require.NoError(t, err)
	memory.Apply(plan)
	app := memory.Snapshot().Applications["crm"]
	plain, err := ring.Box.Open(app.SealedSecret, secrets.ClientSecretPurpose)
	require.NoError(t, err)
	require.Equal(t, "open sesame", string(plain))
	require.NotEmpty(t, app.SecretScheme)
	require.NotContains(t, fmt.Sprintf("%+v", plan.Decisions), "sesame")
}

// A new encryption key makes no client secret look changed, whether it is
// sealed anew already or not; a secret that did change does.
func TestANewEncryptionKeyIsNoNewSecret(t *testing.T) {
	t.Parallel()
	ring, sent := keyring(t, "open sesame")
	memory := directorytest.NewMemory()
	at := directory.SourceTime(0)
	take := func(ring secrets.Keyring, sent, clientID string) directory.Application {
		at++
		planner := authsync.New(usersync.Planner{}, ring)
		credential := push(directory.FlagModify, at, &directory.ApplicationPush{AppID: "crm", ClientID: clientID, ClientSecret: sent})
		require.NoError(t, planner.Prepare(t.Context(), credential))
		plan, err := planner.Plan(t.Context(), memory, credential)
		require.NoError(t, err)
		memory.Apply(plan)
		return memory.Snapshot().Applications["crm"]
	}
	require.EqualValues(t, 1, take(ring, sent, "c").Version)
	rotated := ring
	var err error
	rotated.Box, err = secrets.NewBox(bytes.Repeat([]byte{1}, secrets.KeySize), make([]byte, secrets.KeySize))
	require.NoError(t, err)
	require.EqualValues(t, 1, take(rotated, sent, "c").Version, "unchanged under the new key")
	renamed := take(rotated, sent, "c-2")
	require.EqualValues(t, 2, renamed.Version)
	require.True(t, rotated.Box.Newest(renamed.SealedSecret))
	_, public, err := ring.Decrypter.PublicKey()
	require.NoError(t, err)
	other, err := secrets.EncryptFor(public, []byte("another"))
	require.NoError(t, err)
	require.EqualValues(t, 3, take(rotated, other, "c-2").Version)
	require.EqualValues(t, 4, take(ring, other, "c-2").Version, "without the new key nothing can be compared")
}

// Without a key that fits the push is refused, and the error tells no secret.
func TestASecretThatDoesNotOpenIsRefused(t *testing.T) {
	t.Parallel()
	ring, _ := keyring(t, "x")
	_, foreign := keyring(t, "open sesame")
	planner := authsync.New(usersync.Planner{}, ring)
	for _, sent := range []string{foreign, "not Base64!", "", "AAAA"} {
		err := planner.Prepare(t.Context(), push(directory.FlagModify, 1, &directory.ApplicationPush{AppID: "crm", ClientSecret: sent}))
		require.ErrorIs(t, err, directory.ErrClientSecret)
		if sent != "" {
			require.NotContains(t, err.Error(), sent)
		}
	}
}

// A delete needs no secret: none is opened.
func TestADeleteOpensNoSecret(t *testing.T) {
	t.Parallel()
	planner := authsync.New(usersync.Planner{}, nil)
	require.NoError(t, planner.Prepare(t.Context(), push(directory.FlagDelete, 1, &directory.ApplicationPush{AppID: "crm"})))
}

func users(names ...string) *directory.AuthPush {
	list := &directory.AuthPush{AppID: "crm"}
	for _, name := range names {
		list.Users = append(list.Users, directory.UserItem{UserName: name, Name: name, Enabled: true})
	}
	return list
}

// A list is refused as a whole before anything is journaled.
func TestPrepareRefusesAListThatContradictsItself(t *testing.T) {
	t.Parallel()
	planner := authsync.New(usersync.Planner{}, nil)
	require.NoError(t, planner.Prepare(t.Context(), push(directory.FlagAdd, 1, users("ann", "bob"))))
	err := planner.Prepare(t.Context(), push(directory.FlagAdd, 1, users("ann", "bob", "ann")))
	require.EqualError(t, err, "userList[2].userName: appears twice")
	var invalid *directory.InvalidError
	require.ErrorAs(t, err, &invalid)
}

// The users of a list are read at once, and the pushed list is left as it is.
func TestAListIsReadAtOnce(t *testing.T) {
	t.Parallel()
	planner, memory := authsync.New(usersync.Planner{}, nil), directorytest.NewMemory()
	list := users("eve", "bob", "ann")
	plan, err := planner.Plan(t.Context(), memory, push(directory.FlagAdd, 1, list))
	require.NoError(t, err)
	require.Equal(t, 1, memory.Reads)
	require.Equal(t, "eve", list.Users[0].UserName)
	require.Len(t, plan.Users, 3)
	require.Equal(t, "ann", plan.Users[0].UserName)
	memory.Apply(plan)
	snapshot := memory.Snapshot()
	snapshot.Check(t)
}

func TestPlanOfAnotherInterfaceIsAnError(t *testing.T) {
	t.Parallel()
	planner := authsync.New(usersync.Planner{}, nil)
	require.NoError(t, planner.Prepare(t.Context(), push(directory.FlagAdd, 1, &directory.TenantPush{})))
	_, err := planner.Plan(t.Context(), directorytest.NewMemory(), push(directory.FlagAdd, 1, &directory.TenantPush{}))
	require.EqualError(t, err, "authsync: does not plan tenantSync")
}

var errBroken = errors.New("disk on fire")

type broken struct{}

func (broken) Application(context.Context, string) (directory.Application, bool, error) {
	return directory.Application{}, false, errBroken
}

func (broken) Users(context.Context, []string) (map[string]directory.User, error) {
	return nil, errBroken
}

func TestAFailingViewFailsThePlan(t *testing.T) {
	t.Parallel()
	planner := authsync.New(usersync.Planner{}, nil)
	for _, payload := range []directory.Payload{users("ann"), &directory.ApplicationPush{AppID: "crm"}} {
		_, err := planner.Plan(t.Context(), broken{}, push(directory.FlagAdd, 1, payload))
		require.ErrorIs(t, err, errBroken)
	}
}
