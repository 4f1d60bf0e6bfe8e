package config

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// write makes a file and returns its path.
func write(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	return path
}

// faults are the lines of an error.
func faults(err error) []string {
	if err == nil {
		return nil
	}
	return strings.Split(err.Error(), "\n")
}

func TestNothingConfiguredIsTheContractsDefaults(t *testing.T) {
	t.Parallel()
	c, err := Load("", nil, nil)
	require.NoError(t, err)
	require.Equal(t, ":8080", c.Listen)
	require.Equal(t, "./data", c.DataDir)
	require.Equal(t, "/saasproduce", c.BasePath)
	require.Equal(t, 60*time.Second, c.Window)
	require.EqualValues(t, 64<<20, c.MaxBody)
	require.Equal(t, Guard{MaxDeletes: 10, MaxPercent: 20}, c.Guard)
	require.Equal(t, 7*24*time.Hour, c.Retention.TestData)
	require.Empty(t, c.KitAccessKeys, "no secret is ever a default")
	require.Empty(t, c.AdminToken)
	require.Empty(t, c.EncryptionKey)
}

func TestLaterLayersWin(t *testing.T) {
	t.Parallel()
	file := write(t, "c.yaml", "listen: :1001\ndataDir: /from/yaml\nbasePath: /yaml\nguard: {maxDeletes: 3}\n")
	environ := []string{"ORGSYNC_DATA_DIR=/from/env", "ORGSYNC_BASE_PATH=/env", "OTHER=1"}
	c, err := Load(file, environ, map[string]any{"basePath": "/flag"})
	require.NoError(t, err)
	require.Equal(t, ":1001", c.Listen, "YAML over default")
	require.Equal(t, "/from/env", c.DataDir, "environment over YAML")
	require.Equal(t, "/flag", c.BasePath, "flag over environment")
	require.Equal(t, Guard{MaxDeletes: 3, MaxPercent: 20}, c.Guard, "a group given in part keeps the other defaults")
}

func TestEverySettingOfTheEnvironmentIsRead(t *testing.T) {
	t.Parallel()
	values := map[string]string{
		"LISTEN": "127.0.0.1:9", "DATA_DIR": "d", "BASE_PATH": "", "KIT_ACCESS_KEYS": "first-key,second-key", "BASE_ACCESS_KEYS": "third-key",
		"APP_PRIVATE_KEY_FILE": "k.pem", "ENCRYPTION_KEY": strings.Repeat("A", 43) + "=", "ADMIN_TOKEN": "token-token", "MONGO_DATABASE": "m",
		"WINDOW": "5s", "AHEAD": "9m", "ANSWER_WITHIN": "9s", "MAX_BODY": "9", "MAX_BODIES": "18", "GUARD_MAX_DELETES": "1", "GUARD_MAX_PERCENT": "2", "RETENTION_JOURNAL": "1h", "RETENTION_TOMBSTONES": "2h",
		"RETENTION_TEST_DATA": "3h", "RETENTION_INTERVAL": "4h", "LOG_LEVEL": "debug", "LOG_FORMAT": "json",
		"KIT_V1": "false", "KIT_V2": "true", "BASE_V1": "false", "BASE_V2": "true", "V1_WINDOW": "6s", "REQUIRE_KNOWN_INSTANCE": "true",
		"INSTANCE_PROVISIONER": "webhook", "INSTANCE_FRONT_END_URL": "f", "INSTANCE_ADMIN_URL": "a", "INSTANCE_MEMO": "o", "INSTANCE_LICENSE": "l",
		"INSTANCE_WEBHOOK_URL": "w", "INSTANCE_WEBHOOK_SECRET": "s", "INSTANCE_WEBHOOK_TIMEOUT": "7s", "INSTANCE_PATIENCE": "8s",
	}
	var environ []string
	for name, value := range values {
		environ = append(environ, Prefix+name+"="+value)
	}
	c, err := Load("", environ, nil)
	require.NoError(t, err)
	require.Equal(t, &Config{
		Listen: "127.0.0.1:9", DataDir: "d", KitAccessKeys: []Secret{"first-key", "second-key"}, BaseAccessKeys: []Secret{"third-key"},
		AppPrivateKeyFile: "k.pem", EncryptionKey: Secret(strings.Repeat("A", 43) + "="), AdminToken: "token-token", MongoDatabase: "m",
		Window: 5 * time.Second, Ahead: 9 * time.Minute, AnswerWithin: 9 * time.Second, MaxBody: 9, MaxBodies: 18, Guard: Guard{1, 2},
		Retention: Retention{time.Hour, 2 * time.Hour, 3 * time.Hour, 4 * time.Hour}, Log: Log{"debug", "json"},
		Interfaces: Interfaces{KitV2: true, BaseV2: true, V1Window: 6 * time.Second},
		Instances: Instances{
			RequireKnown: true, Provisioner: "webhook", FrontEndURL: "f", AdminURL: "a", Memo: "o", License: "l",
			WebhookURL: "w", WebhookSecret: "s", WebhookTimeout: 7 * time.Second, Patience: 8 * time.Second,
		},
	}, c)
}

func TestListsTakeCommasBlanksAndLineBreaks(t *testing.T) {
	t.Parallel()
	for text, want := range map[string][]string{
		"":                              nil,
		"one-key-1":                     {"one-key-1"},
		" one-key-1 , two-key-2 ,":      {"one-key-1", "two-key-2"},
		"one-key-1\r\ntwo-key-2\n\n":    {"one-key-1", "two-key-2"},
		"with space inside,and another": {"with space inside", "and another"},
	} {
		c, err := Load("", []string{"ORGSYNC_KIT_ACCESS_KEYS=" + text}, nil)
		require.NoError(t, err, "%q", text)
		require.ElementsMatch(t, want, c.KitKeys(), "%q", text)
	}
	c, err := Load(write(t, "c.yaml", "kitAccessKeys: [first-key, second-key]\n"), nil, nil)
	require.NoError(t, err)
	require.Equal(t, []string{"first-key", "second-key"}, c.KitKeys())
}

func TestASecretMayComeFromAFile(t *testing.T) {
	t.Parallel()
	file := write(t, "token", "token-from-file\n")
	c, err := Load("", []string{"ORGSYNC_ADMIN_TOKEN_FILE=" + file, "ORGSYNC_KIT_ACCESS_KEYS_FILE=" + write(t, "keys", "first-key\nsecond-key\n")}, nil)
	require.NoError(t, err)
	require.Equal(t, "token-from-file", c.AdminToken.Reveal())
	require.Equal(t, []string{"first-key", "second-key"}, c.KitKeys())

	yaml := write(t, "c.yaml", "targets:\n  - {name: a, type: scim, url: http://x, auth: {type: bearer, tokenFile: "+file+"}}\n"+
		"  - {name: b, type: scim, url: http://x, auth: {type: basic, userName: u, passwordFile: "+file+"}}\n")
	c, err = Load(yaml, nil, nil)
	require.NoError(t, err)
	require.Equal(t, "token-from-file", c.Targets[0].Auth.Token.Reveal())
	require.Equal(t, "token-from-file", c.Targets[1].Auth.Password.Reveal())
}

func TestASecretGivenTwiceOrNotAtAllIsRefused(t *testing.T) {
	t.Parallel()
	file, empty := write(t, "token", "token-from-file\n"), write(t, "empty", " \n")
	for _, c := range []struct{ name, environ, want string }{
		{"both", "ORGSYNC_ADMIN_TOKEN=given-itself", "ORGSYNC_ADMIN_TOKEN_FILE: the secret is given itself, too"},
		{"missing", "", "no such file"},
		{"empty", "", "the file is empty"},
	} {
		path := map[string]string{"both": file, "missing": file + "-not-there", "empty": empty}[c.name]
		_, err := Load("", []string{c.environ, "ORGSYNC_ADMIN_TOKEN_FILE=" + path}, nil)
		require.ErrorContains(t, err, c.want, c.name)
		require.NotContains(t, err.Error(), "given-itself")
	}
	_, err := Load(write(t, "c.yaml", "targets: [{name: a, type: scim, url: http://x, auth: {type: bearer, token: in-clear-text, tokenFile: "+file+"}}]"), nil, nil)
	require.ErrorContains(t, err, "targets[0].auth.token: given itself and as a file")
	require.NotContains(t, err.Error(), "in-clear-text")
}

func TestAllFaultsAreReportedAtOnce(t *testing.T) {
	t.Parallel()
	file := write(t, "c.yaml", `
listen: nonsense
lisen: ":9"
window: soon
maxBody: [1]
guard: {maxPercent: 200, maxDeletez: 1}
retention: {interval: -1s, journal: -1h}
log: {level: loud}
targets:
  - {name: "a b", type: soap, tipe: x, onRevoke: burn, concurrency: -1, auth: {type: bearer}}
  - {name: t2, type: scim, url: http://x, auth: {type: none, token: secret-of-t2}}
  - {name: t2, type: scim, url: http://x, testData: maybe}
`)
	_, err := Load(file, []string{"ORGSYNC_ADMIN_TOKEN=short", "ORGSYNC_LISTN=:1", "ORGSYNC_ENCRYPTION_KEY=bm90IDMyIGJ5dGVz", "ORGSYNC_MAX_BODY_FILE=/x"}, nil)
	require.Error(t, err)
	for _, want := range []string{
		`listen: "nonsense": want host:port or :port`,
		"lisen: no such setting; did you mean listen?",
		"ORGSYNC_LISTN: no such setting; did you mean ORGSYNC_LISTEN?",
		"window: want a duration such as 90s, 15m or 48h",
		"maxBody: want a whole number",
		"guard.maxPercent: want 0 to 100",
		"guard.maxDeletez: no such setting; did you mean maxDeletes?",
		"retention.interval: want more than 0",
		"retention.journal: less than 0",
		`log.level: "loud": want debug, info, warn, error`,
		`targets[0].name: "a b": want letters, digits, dots, dashes and underscores`,
		`targets[0].type: "soap": want scim, webhook, ldap, keycloak`,
		"targets[0].tipe: no such setting; did you mean type?",
		`targets[0].onRevoke: "burn": want deactivate, delete, keep`,
		"targets[0].concurrency: less than 0",
		"targets[0].auth.token: missing; give token or tokenFile",
		`targets[1].auth.type: "none", and credentials are given; want bearer or basic`,
		`targets[2].name: "t2" is taken`,
		"targets[2].testData: want true or false",
		"adminToken: shorter than 8 characters",
		"ORGSYNC_MAX_BODY_FILE: only secrets are taken from files; set ORGSYNC_MAX_BODY",
		"encryptionKey: want Base64 of 32 bytes; `orgsync keys` makes one",
	} {
		require.Contains(t, faults(err), want)
	}
	require.Len(t, faults(err), 22, "one line a fault:\n%v", err)
	require.NotContains(t, err.Error(), "secret-of-t2")
}

func TestAnotherProgramsNamesAreLeftAlone(t *testing.T) {
	t.Parallel()
	_, err := Load("", []string{"ORGSYNC_CONFIG=x", "ORGSYNC_PORT=tcp://10.0.0.1:80", "ORGSYNC_SERVICE_HOST=10.0.0.1", "ORGSYNC_TEST_MONGO_URI=x", "PATH=/bin"}, nil)
	require.NoError(t, err)
}

func TestAnUnreadableFileIsToldWithoutQuotingIt(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ text, want string }{
		"a secret by mistake": {"hunter2hunter2\n", `want settings as "name: value" lines`},
		"broken":              {"listen: \"hunter2hunter2\n", "yaml: line"},
		"given twice":         {"listen: :1\nlisten: :2\n", "already defined"},
	} {
		_, err := Load(write(t, "c.yaml", c.text), nil, nil)
		require.ErrorContains(t, err, c.want, name)
		require.NotContains(t, err.Error(), "hunter2", name)
	}
	_, err := Load(filepath.Join(t.TempDir(), "none.yaml"), nil, nil)
	require.ErrorContains(t, err, "--config or ORGSYNC_CONFIG")
	_, err = Load(t.TempDir(), nil, nil)
	require.ErrorContains(t, err, "not a configuration file")
}

func TestAWrongKindOfValueNeverShowsASecret(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		"adminToken: {inner: hunter2}", "kitAccessKeys: [{a: hunter2}]", "encryptionKey: [hunter2]",
		"targets: [{name: a, type: scim, auth: {token: {b: hunter2}}}]", "targets: hunter2", "guard: hunter2",
	} {
		_, err := Load(write(t, "c.yaml", text), nil, nil)
		require.Error(t, err, text)
		require.NotContains(t, err.Error(), "hunter2", text)
	}
}

func TestNoFormShowsASecret(t *testing.T) {
	t.Parallel()
	c, err := Load("", []string{"ORGSYNC_ADMIN_TOKEN=hunter2hunter2", "ORGSYNC_KIT_ACCESS_KEYS=hunter2-one,hunter2-two"}, nil)
	require.NoError(t, err)
	c.Targets = []Target{{Name: "a", Auth: Auth{Token: "hunter2-token", Password: "hunter2-password"}}}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x"} {
		for _, value := range []any{c, *c, c.Targets[0].Auth, c.AdminToken, c.KitAccessKeys, &c.AdminToken} {
			text := fmt.Sprintf(verb, value)
			require.NotContains(t, text, "hunter2", verb)
			require.NotContains(t, text, fmt.Sprintf("%x", "hunter2"), verb)
		}
	}
	text, err := json.Marshal(c)
	require.NoError(t, err)
	require.NotContains(t, string(text), "hunter2")
	var log strings.Builder
	slog.New(slog.NewTextHandler(&log, nil)).Info("x", "token", c.AdminToken, "all", c, "keys", c.KitAccessKeys)
	slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "token", c.AdminToken, "all", c, "keys", c.KitAccessKeys)
	require.NotContains(t, log.String(), "hunter2")
	require.Equal(t, "hunter2hunter2", c.AdminToken.Reveal())
}

func TestBasePath(t *testing.T) {
	t.Parallel()
	for path, ok := range map[string]bool{
		"": true, "/saasproduce": true, "/a/b-c_d.e~f": true,
		"/": false, "saas": false, "/saas/": false, "/a//b": false, "/:name": false, "/*all": false, "/a b": false, "/api": false, "/api/v1": false, "/apix": true, "/?q": false,
		"/healthz": false, "/readyz": false, "/metrics": false, "/healthz/saas": true,
	} {
		_, err := Load("", nil, map[string]any{"basePath": path})
		require.Equal(t, ok, err == nil, "%q: %v", path, err)
	}
}

func TestTyposAreADistance(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(r *rapid.T) {
		words := rapid.StringMatching(`[a-c]{0,6}`)
		a, b, c := words.Draw(r, "a"), words.Draw(r, "b"), words.Draw(r, "c")
		require.Equal(r, typos(a, b), typos(b, a))
		require.Equal(r, a == b, typos(a, b) == 0)
		require.LessOrEqual(r, typos(a, c), typos(a, b)+typos(b, c))
		require.LessOrEqual(r, typos(a, b), max(len(a), len(b)))
	})
}

func FuzzLoad(f *testing.F) {
	f.Add("listen: :1\n")
	f.Add("targets: [{name: a, auth: {type: bearer, token: x}}]")
	f.Add("guard: 5\nretention: []\nlog: {level: {}}")
	f.Add("? [a, b]\n: {c: d}")
	f.Fuzz(func(t *testing.T, text string) {
		path := filepath.Join(t.TempDir(), "c.yaml")
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
		if c, err := Load(path, nil, nil); err == nil {
			require.NoError(t, c.Validate(), "what Load takes is valid")
		}
	})
}

// durations are the paths of all durations in a group of settings.
func durations(group reflect.Type, prefix string) (paths []string) {
	for i := range group.NumField() {
		field := group.Field(i)
		path := prefix + field.Tag.Get("koanf")
		switch {
		case field.Type == reflect.TypeFor[time.Duration]():
			paths = append(paths, path)
		case field.Type.Kind() == reflect.Struct && field.Tag.Get("koanf") != "":
			paths = append(paths, durations(field.Type, path+".")...)
		}
	}
	return paths
}

// YAML reads 72 as a number, and nobody means nanoseconds by it.
func TestDurations_WantAUnit(t *testing.T) {
	t.Parallel()
	nested := func(path, value string) string {
		parts := strings.Split(path, ".")
		return strings.Join(parts, ": {") + ": " + value + strings.Repeat("}", len(parts)-1)
	}
	ways := map[string]string{}
	for _, path := range durations(reflect.TypeFor[Config](), "") {
		ways[path] = nested(path, "%s")
	}
	for _, path := range durations(reflect.TypeFor[Target](), "") {
		ways["targets[0]."+path] = "targets: [{name: t, type: scim, url: 'https://x.example', " + nested(path, "%s") + "}]"
	}
	require.Greater(t, len(ways), 12)
	for setting, text := range ways {
		for _, number := range []string{"72", "1.5", "-3"} {
			_, err := Load(write(t, "c.yaml", fmt.Sprintf(text, number)), nil, nil)
			require.ErrorContains(t, err, setting+": "+number+" has no unit; write "+number+"s, "+number+"m or "+number+"h", text)
		}
		_, err := Load(write(t, "c.yaml", fmt.Sprintf(text, "0")), nil, nil)
		if err != nil {
			require.NotContains(t, err.Error(), "has no unit", "0 is 0 in any unit")
		}
		_, err = Load(write(t, "c.yaml", fmt.Sprintf(text, "72h")), nil, nil)
		if err != nil {
			require.NotContains(t, err.Error(), "unit", text)
		}
	}
	_, err := Load("", []string{"ORGSYNC_WINDOW=60"}, nil)
	require.ErrorContains(t, err, "a duration such as")
}
