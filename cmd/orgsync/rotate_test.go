package main

import (
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/openkoo/connector/config"
	"github.com/openkoo/connector/directory"
	"github.com/openkoo/connector/marketplace/client"
	"github.com/openkoo/connector/secrets"
	"github.com/openkoo/connector/storage"
	"github.com/openkoo/connector/storage/embedded"
)

const (
	clientWords  = "the-client-secret-in-clear"
	credential   = `{"appId": "app-1", "clientId": "c-1", "clientSecret": "` + clientWords + `"}`
	contactWords = "the buyer's phone"
)

// pushCredential pushes the application as the marketplace does.
func (s *server) pushCredential(t *testing.T) {
	t.Helper()
	require.NoError(t, s.pushFile(t, "app", " --public-key "+filepath.Join(s.dir, config.PublicKeyFile), "a.json", credential).err)
}

// secret asks the server for the client secret in clear.
func (s *server) secret(t *testing.T) (status int, clientSecret string) {
	t.Helper()
	status, _, text := s.request(t, http.MethodGet, "/api/v1/applications/app-1/secret?tenantId=t1", s.token(t), "")
	var answer struct{ ClientSecret string }
	require.NoError(t, json.Unmarshal([]byte(text), &answer), text)
	return status, answer.ClientSecret
}

// restart serves the same directory again.
func (s *server) restart(t *testing.T) *server {
	t.Helper()
	again := serve(t, "--data-dir", s.dir)
	again.dir = s.dir
	return again
}

// openData opens a data directory that nobody serves.
func openData(t *testing.T, dir string) *embedded.Store {
	t.Helper()
	store, err := embedded.Open(t.Context(), dir, embedded.Options{Logger: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	return store
}

// boxOf makes the box of a file of keys.
func boxOf(t *testing.T, path string) *secrets.Box {
	t.Helper()
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	box, err := openBox(&config.Config{EncryptionKey: config.Secret(strings.TrimSpace(string(text)))})
	require.NoError(t, err)
	return box
}

// bound is a stopped connector's directory with an application and an instance
// whose secrets its first key has sealed.
func bound(t *testing.T) *server {
	t.Helper()
	s := serve(t)
	s.pushCredential(t)
	s.stop()
	s.buy(t)
	return s
}

// buy keeps an instance in a stopped connector's directory, with a sealed contact.
func (s *server) buy(t *testing.T) {
	t.Helper()
	store := openData(t, s.dir)
	_, created, err := store.CreateInstance(t.Context(), directory.Instance{
		Dataset: directory.Prod, ID: "i-1", Version: 1,
		SealedContact: boxOf(t, filepath.Join(s.dir, config.EncryptionKeyFile)).Seal([]byte(contactWords), "instance contact"),
	}, []string{"order"})
	require.NoError(t, err)
	require.True(t, created)
	require.NoError(t, store.Close())
}

func TestARotationSealsEverythingAnewAndLooksLikeNoChange(t *testing.T) {
	t.Parallel()
	s := bound(t)
	r := run(t, nil, "keys", "rotate", "--data-dir", s.dir)
	require.NoError(t, r.err)
	previous := filepath.Join(s.dir, config.PreviousKeysFile)
	require.Contains(t, r.out, "2 applications and instances looked at, 2 sealed anew")
	require.Contains(t, r.out, "The earlier key may go: remove "+previous)
	require.NotContains(t, r.out+r.errOut, clientWords)

	again := run(t, nil, "keys", "rotate", "--data-dir", s.dir)
	require.NoError(t, again.err)
	require.Contains(t, again.out, "2 applications and instances looked at, 0 sealed anew", "a repeat makes no third key")

	earlier := boxOf(t, previous)
	require.NoError(t, os.Remove(previous))
	store := openData(t, s.dir)
	kept, err := store.Instance(t.Context(), directory.Prod, "i-1")
	require.NoError(t, err)
	require.NoError(t, store.Close())
	contact, err := boxOf(t, filepath.Join(s.dir, config.EncryptionKeyFile)).Open(kept.SealedContact, "instance contact")
	require.NoError(t, err)
	require.Equal(t, contactWords, string(contact))
	_, err = earlier.Open(kept.SealedContact, "instance contact")
	require.ErrorIs(t, err, secrets.ErrSealed)

	next := s.restart(t)
	before := listed[directory.Application](t, next, "/applications")
	status, secret := next.secret(t)
	require.Equal(t, http.StatusOK, status)
	require.Equal(t, clientWords, secret)
	next.pushCredential(t)
	after := listed[directory.Application](t, next, "/applications")
	require.Len(t, after, 1)
	require.EqualValues(t, 1, after[0].Version, "the same secret is no change under the new key")
	require.Equal(t, before[0].Seq, after[0].Seq)
}

// A connector that does not know the new key would seal with the old one.
func TestARotationUnderARunningConnectorIsRefusedAndMakesNoKey(t *testing.T) {
	t.Parallel()
	s := serve(t)
	key, err := os.ReadFile(filepath.Join(s.dir, config.EncryptionKeyFile))
	require.NoError(t, err)
	r := run(t, nil, "keys", "rotate", "--data-dir", s.dir)
	require.Equal(t, 1, r.code())
	require.ErrorContains(t, r.err, "data directory "+s.dir+" is in use by another orgsync process; stop it")
	now, err := os.ReadFile(filepath.Join(s.dir, config.EncryptionKeyFile))
	require.NoError(t, err)
	require.Equal(t, key, now)
	require.NoFileExists(t, filepath.Join(s.dir, config.PreviousKeysFile))
}

// The key has changed and nothing is sealed anew: the connector works, and the
// next run goes on with the same key.
func TestAnInterruptedRotationIsResumed(t *testing.T) {
	t.Parallel()
	s := bound(t)
	c := &config.Config{DataDir: s.dir}
	_, err := c.EnsureKeys()
	require.NoError(t, err)
	require.NoError(t, c.RotateKeyFiles())

	between := s.restart(t)
	status, secret := between.secret(t)
	require.Equal(t, http.StatusOK, status)
	require.Equal(t, clientWords, secret)
	between.pushCredential(t)
	require.EqualValues(t, 1, listed[directory.Application](t, between, "/applications")[0].Version)
	between.stop()

	r := run(t, nil, "keys", "rotate", "--data-dir", s.dir)
	require.NoError(t, r.err)
	require.Contains(t, r.out, "2 sealed anew")
	key, err := os.ReadFile(filepath.Join(s.dir, config.EncryptionKeyFile))
	require.NoError(t, err)
	require.Equal(t, c.EncryptionKey.Reveal(), strings.TrimSpace(string(key)))
}

// Without the earlier key nothing is lost, and it is said what is missing.
func TestARotationWithoutTheEarlierKeyStops(t *testing.T) {
	t.Parallel()
	s := bound(t)
	c := &config.Config{DataDir: s.dir}
	_, err := c.EnsureKeys()
	require.NoError(t, err)
	require.NoError(t, c.RotateKeyFiles())
	require.NoError(t, os.WriteFile(filepath.Join(s.dir, config.PreviousKeysFile), []byte(secrets.NewEncryptionKey()), 0o600))
	r := run(t, nil, "keys", "rotate", "--data-dir", s.dir)
	require.Equal(t, 1, r.code())
	require.ErrorContains(t, r.err, `client secret of application "app-1"`)
	require.ErrorContains(t, r.err, "keep the earlier keys until then")
	require.NotContains(t, r.out, "may go")
}

func TestAConfiguredKeyIsRotatedByTheConfiguration(t *testing.T) {
	t.Parallel()
	s := bound(t)
	key, err := os.ReadFile(filepath.Join(s.dir, config.EncryptionKeyFile))
	require.NoError(t, err)
	present := strings.TrimSpace(string(key))
	r := run(t, []string{"ORGSYNC_ENCRYPTION_KEY=" + present}, "keys", "rotate", "--data-dir", s.dir)
	require.NoError(t, r.err)
	next := filepath.Join(s.dir, config.NextKeyFile)
	require.Contains(t, r.out, "ORGSYNC_ENCRYPTION_KEY_FILE="+next)
	require.NotContains(t, r.out, present)

	environ := []string{"ORGSYNC_ENCRYPTION_KEY_FILE=" + next, "ORGSYNC_PREVIOUS_ENCRYPTION_KEYS=" + present}
	r = run(t, environ, "keys", "rotate", "--data-dir", s.dir)
	require.NoError(t, r.err)
	require.Contains(t, r.out, "2 sealed anew")
	require.Contains(t, r.out, "remove previousEncryptionKeys (ORGSYNC_PREVIOUS_ENCRYPTION_KEYS)")
}

// busyStore is a real store in which a push changes each application right
// before it would be sealed anew, so many times.
type busyStore struct {
	*embedded.Store
	pushes int
	push   func()
}

func (b *busyStore) Reseal(ctx context.Context, scope directory.Scope, appID string, was, next storage.SealedSecret) error {
	if b.pushes > 0 {
		b.pushes--
		b.push()
	}
	return b.Store.Reseal(ctx, scope, appID, was, next)
}

// A push that comes between reading and sealing wins, and is sealed anew in
// its turn: a rotation does not end while an earlier key is in use.
func TestARotationYieldsToPushesAndGoesOn(t *testing.T) {
	t.Parallel()
	oldKey, newKey := make([]byte, secrets.KeySize), []byte(strings.Repeat("n", secrets.KeySize))
	old, err := secrets.NewBox(oldKey)
	require.NoError(t, err)
	both, err := secrets.NewBox(newKey, oldKey)
	require.NoError(t, err)
	store := &busyStore{Store: openData(t, t.TempDir()), pushes: 2}
	t.Cleanup(func() { require.NoError(t, store.Close()) })
	scope, version := directory.Scope{Dataset: directory.Test, TenantID: "t"}, int64(0)
	store.push = func() {
		version++
		secret := []byte(strings.Repeat("s", int(version)))
		record := storage.Record{ID: string('a' + rune(version)), Scope: scope, Kind: directory.ApplicationSync}
		_, err := store.ApplyAtOnce(t.Context(), record, nil, func(context.Context, storage.View) (*directory.Plan, error) {
			return &directory.Plan{Result: directory.ResultApplied, Applications: []directory.Application{{
				AppID: "app", SealedSecret: old.Seal(secret, secrets.ClientSecretPurpose), SecretFingerprint: old.Fingerprint(secret),
				Meta: directory.Meta{Version: version},
			}}}, nil
		})
		require.NoError(t, err)
	}
	store.push()
	r := &reseal{store: store, keyring: secrets.Keyring{Box: both}}
	require.NoError(t, r.run(t.Context()))
	require.Equal(t, []int{1, 1}, []int{r.seen, r.sealed})
	found, _, err := store.Applications(t.Context(), storage.EntityFilter{Dataset: directory.Test}, storage.Page{})
	require.NoError(t, err)
	require.EqualValues(t, 3, found[0].Entity.Version)
	secret, err := r.keyring.RevealClientSecret(found[0].Entity.SealedSecret)
	require.NoError(t, err)
	require.Equal(t, "sss", secret, "the newest push's secret")
	require.True(t, both.Newest(found[0].Entity.SealedSecret))
}

// Mobile numbers and addresses are in no line of a connector's log, at the
// level that says most, nor in its status, journal and deliveries.
func TestNoPersonalDataInLogsAndStatus(t *testing.T) {
	t.Parallel()
	path := write(t, "orgsync.yaml", "log: {level: debug}\ntargets: [{name: corp, type: scim, url: 'http://127.0.0.1:1/scim', auth: {type: bearer, token: a-scim-token}}]\n")
	s := serve(t, "--config", path)
	require.NoError(t, s.pushFile(t, "full", "", "d.csv", departments(3)).err)
	s.pushCredential(t)
	const header = "userName,name,orgCode,role,enable,mobile,email\n"
	require.NoError(t, s.pushFile(t, "users", " --app app-1", "u.csv", header+"zhang,张三,1,user,true,13812345678,zhang@secret.example\n").err)
	// Refused ones are what errors are made of.
	key, err := os.ReadFile(filepath.Join(s.dir, config.AccessKeyFile))
	require.NoError(t, err)
	sender, err := client.New(s.base+"/saasproduce", strings.TrimSpace(string(key)), client.Options{})
	require.NoError(t, err)
	for _, u := range []directory.UserItem{
		{UserName: "li", Name: strings.Repeat("长", 5000), Mobile: "13987654321"}, {UserName: "wu", Name: "吴", Mobile: strings.Repeat("13987654321", 50)},
	} {
		u.OrgCode, u.Role, u.Email = "1", "user", "li@secret.example"
		body, err := client.Body(directory.Scope{Dataset: directory.Prod, TenantID: "t1"}, directory.FlagModify, directory.SourceTimeOf(time.Now()),
			&directory.AuthPush{AppID: "nobody", Users: []directory.UserItem{u}})
		require.NoError(t, err)
		answer, err := sender.Push(t.Context(), directory.AuthSync, body)
		require.NoError(t, err)
		require.Equal(t, "000002", answer.Code)
	}
	var answers strings.Builder
	for _, path := range []string{"/sync-status?tenantId=t1", "/pushes", "/deliveries", "/users", "/changes", "/targets"} {
		status, _, text := s.request(t, http.MethodGet, "/api/v1"+path, s.token(t), "")
		require.Equal(t, http.StatusOK, status, path)
		answers.WriteString(text)
	}
	require.Contains(t, answers.String(), "***78", "the number is there, masked")
	s.stop()
	log := s.out.String()
	require.Contains(t, log, "kind=authSync code=000000")
	require.Contains(t, log, "kind=authSync code=000002")
	for _, personal := range []string{"13812345678", "13987654321", "zhang@secret", "li@secret", clientWords, "a-scim-token"} {
		require.NotContains(t, log, personal)
		require.NotContains(t, answers.String(), personal)
	}
}
