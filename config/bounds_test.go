package config

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// valid is a configuration that Validate takes.
func valid(t *testing.T) *Config {
	t.Helper()
	c, err := Load("", nil, nil)
	require.NoError(t, err)
	c.Targets = []Target{{Name: "corp", Type: "scim", URL: "https://idp.example.com/scim/v2", Auth: Auth{Type: "bearer", Token: "a-token"}}}
	require.NoError(t, c.Validate())
	return c
}

func TestCredentialsFitTheirType(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		auth Auth
		want string
	}{
		{Auth{}, ""},
		{Auth{Type: "none"}, ""},
		{Auth{Type: "bearer", Token: "t"}, ""},
		{Auth{Type: "bearer", TokenFile: "f"}, ""},
		{Auth{Type: "basic", UserName: "u", Password: "p"}, ""},
		{Auth{Type: "basic", UserName: "u", PasswordFile: "f"}, ""},
		{Auth{Token: "t"}, `targets[0].auth.type: "", and credentials are given; want bearer or basic`},
		{Auth{UserName: "u"}, `targets[0].auth.type: "", and credentials are given; want bearer or basic`},
		{Auth{Type: "none", Token: "t"}, `targets[0].auth.type: "none", and credentials are given; want bearer or basic`},
		{Auth{Type: "bearer"}, "targets[0].auth.token: missing; give token or tokenFile"},
		{Auth{Type: "bearer", Token: "t", UserName: "u"}, "targets[0].auth.type: bearer, and a user name or password is given"},
		{Auth{Type: "basic"}, "targets[0].auth.userName: missing"},
		{Auth{Type: "basic", UserName: "u", Token: "t"}, "targets[0].auth.type: basic, and a token is given"},
		{Auth{Type: "Bearer", Token: "t"}, `targets[0].auth.type: "Bearer": want none, bearer, basic, signature`},
	} {
		config := valid(t)
		config.Targets[0].Auth = c.auth
		err := config.Validate()
		if c.want == "" {
			require.NoError(t, err, "%+v", c.auth)
			continue
		}
		require.EqualError(t, err, c.want)
	}
}

func TestNamesOfTargetsFitMetricsAndURLs(t *testing.T) {
	t.Parallel()
	for name, ok := range map[string]bool{
		"corp": true, "corp-scim_2.eu": true, "0": true, "a23456789012345678901234567890123456789012345678901234567890123": true,
		"": false, "-corp": false, "a b": false, "a/b": false, "企业": false, "a\n": false,
		"a234567890123456789012345678901234567890123456789012345678901234": false,
	} {
		config := valid(t)
		config.Targets[0].Name = name
		require.Equal(t, ok, config.Validate() == nil, "%q", name)
	}
	config := valid(t)
	config.Targets = append(config.Targets, config.Targets[0])
	require.EqualError(t, config.Validate(), `targets[1].name: "corp" is taken`)
}

func TestAddressesToListenOn(t *testing.T) {
	t.Parallel()
	for address, ok := range map[string]bool{
		":8080": true, "127.0.0.1:0": true, "[::1]:65535": true, "host.example.com:80": true,
		"": false, "8080": false, ":": false, ":http": false, ":65536": false, ":-1": false, "::1:80": false, "host": false,
	} {
		config := valid(t)
		config.Listen = address
		require.Equal(t, ok, config.Validate() == nil, "%q", address)
	}
}

func TestBoundsAreExact(t *testing.T) {
	t.Parallel()
	for name, edit := range map[string]func(*Config){
		"window: want more than 0":             func(c *Config) { c.Window = 0 },
		"maxBody: want more than 0":            func(c *Config) { c.MaxBody = 0 },
		"maxBodies: less than maxBody":         func(c *Config) { c.MaxBodies = c.MaxBody - 1 },
		"guard.maxDeletes: less than 0":        func(c *Config) { c.Guard.MaxDeletes = -1 },
		"guard.maxPercent: want 0 to 100":      func(c *Config) { c.Guard.MaxPercent = 101 },
		"retention.tombstones: less than 0":    func(c *Config) { c.Retention.Tombstones = -1 },
		"retention.testData: less than 0":      func(c *Config) { c.Retention.TestData = -1 },
		"retention.interval: want more than 0": func(c *Config) { c.Retention.Interval = 0 },
		"dataDir: empty":                       func(c *Config) { c.DataDir = "" },
		"adminToken: shorter than 8 characters": func(c *Config) {
			c.AdminToken = "1234567"
		},
		"kitAccessKeys[1]: shorter than 8 characters":                                            func(c *Config) { c.KitAccessKeys = []Secret{"long-enough", "short"} },
		"baseAccessKeys[0]: shorter than 8 characters":                                           func(c *Config) { c.BaseAccessKeys = []Secret{"short"} },
		"mongoDatabase: empty":                                                                   func(c *Config) { c.MongoDatabase = "" },
		"redisUrl: the embedded store is one process's; set mongoUri too, or remove the setting": func(c *Config) { c.RedisURL = "redis://:hunter2@x" },
	} {
		config := valid(t)
		edit(config)
		require.EqualError(t, config.Validate(), name)
	}
	for _, edit := range []func(*Config){
		func(c *Config) { c.Guard = Guard{} },
		func(c *Config) { c.Guard.MaxPercent = 100 },
		func(c *Config) { c.Retention.Journal, c.Retention.Tombstones, c.Retention.TestData = 0, 0, 0 },
		func(c *Config) { c.AdminToken = "12345678" },
	} {
		config := valid(t)
		edit(config)
		require.NoError(t, config.Validate())
	}
}

func TestSuggestionsAreNearAndNothingElse(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{
		"lisen": "listen", "LISTEN": "listen", "datadir": "dataDir", "kitAccessKey": "kitAccessKeys", "tokenfile": "tokenFile",
		"nothing": "", "x": "", "": "",
	} {
		hint := suggest(name, yamlNames(), "")
		if want == "" {
			require.Empty(t, hint, name)
			continue
		}
		require.Equal(t, "; did you mean "+want+"?", hint)
	}
}
