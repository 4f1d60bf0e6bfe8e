package directory_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/openkoo/connector/directory"
)

func TestSourceTime(t *testing.T) {
	t.Parallel()
	at, err := directory.ParseSourceTime("20240229235959999", directory.China)
	require.NoError(t, err)
	require.Equal(t, time.Date(2024, 2, 29, 15, 59, 59, 999_000_000, time.UTC), at.Time())
	require.Equal(t, "20240229235959999", at.Wire())
	utc, err := directory.ParseSourceTime("20240229235959999", time.UTC)
	require.NoError(t, err)
	require.Equal(t, 8*time.Hour, utc.Time().Sub(at.Time()))

	for text, reason := range map[string]string{
		"":                   "want 17 digits yyyyMMddHHmmssSSS, got 0 characters",
		"2024022923595999":   "want 17 digits yyyyMMddHHmmssSSS, got 16 characters",
		"202402292359599990": "want 17 digits yyyyMMddHHmmssSSS, got 18 characters",
		"2024022923595999x":  `want 17 digits yyyyMMddHHmmssSSS, got "2024022923595999x"`,
		"-0240229235959999":  `want 17 digits yyyyMMddHHmmssSSS, got "-0240229235959999"`,
		"20230229235959999":  `"20230229235959999" is no date: want yyyyMMddHHmmssSSS`,
		"20240229245959999":  `"20240229245959999" is no date: want yyyyMMddHHmmssSSS`,
	} {
		_, err := directory.ParseSourceTime(text, directory.China)
		require.EqualError(t, err, reason)
	}
}

func TestSourceTimeIsReadAsItIsWritten(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(r *rapid.T) {
		at := directory.SourceTime(rapid.Int64Range(0, 253402271999999).Draw(r, "ms")) // to the end of 9999 in China
		back, err := directory.ParseSourceTime(at.Wire(), directory.China)
		require.NoError(r, err)
		require.Equal(r, at, back)
		text, err := json.Marshal(at)
		require.NoError(r, err)
		var again directory.SourceTime
		require.NoError(r, json.Unmarshal(text, &again))
		require.Equal(r, at, again)
	})
	var at directory.SourceTime
	require.Error(t, json.Unmarshal([]byte(`"yesterday"`), &at))
}

// FuzzParseSourceTime: what is taken is a date, and is written as it was read.
func FuzzParseSourceTime(f *testing.F) {
	f.Add("20240229235959999")
	f.Add("00000000000000000")
	f.Fuzz(func(t *testing.T, text string) {
		at, err := directory.ParseSourceTime(text, directory.China)
		if err == nil {
			require.Equal(t, text, at.Wire())
		}
	})
}

// FuzzParseScope: a scope that is read is written in one way only.
func FuzzParseScope(f *testing.F) {
	f.Add("prod/inst-1/68cb")
	f.Add("test//%2F")
	f.Fuzz(func(t *testing.T, text string) {
		scope, err := directory.ParseScope(text)
		if err != nil {
			return
		}
		again, err := directory.ParseScope(scope.String())
		require.NoError(t, err)
		require.Equal(t, scope, again)
	})
}

func TestScopesThatAreNone(t *testing.T) {
	t.Parallel()
	for text, reason := range map[string]string{
		"prod/a":     `scope "prod/a": want dataset/instanceId/tenantId`,
		"prod/a/b/c": `scope "prod/a/b/c": want dataset/instanceId/tenantId`,
		"live/a/b":   `scope "live/a/b": unknown data set "live"`,
		"prod/%zz/b": `scope "prod/%zz/b": invalid URL escape "%zz"`,
		"prod/a/b%2": `scope "prod/a/b%2": invalid URL escape "%2"`,
	} {
		_, err := directory.ParseScope(text)
		require.EqualError(t, err, reason)
	}
}

// The names of kinds, flags and interfaces are stored and shown: they stay.
func TestNames(t *testing.T) {
	t.Parallel()
	for kind, name := range map[directory.Kind]string{1: "tenant", 2: "department", 3: "user", 4: "application"} {
		require.Equal(t, name, kind.String())
		text, err := kind.MarshalText()
		require.NoError(t, err)
		var back directory.Kind
		require.NoError(t, back.UnmarshalText(text))
		require.Equal(t, kind, back)
	}
	require.Equal(t, "kind(9)", directory.Kind(9).String())
	_, err := directory.ParseKind("org")
	require.EqualError(t, err, `unknown kind "org": want tenant, department, user or application`)
	for flag, name := range map[directory.Flag]string{0: "delete", 1: "add", 2: "modify", 3: "cancel", 4: "flag(4)"} {
		require.Equal(t, name, flag.String())
	}
	for i, payload := range []directory.Payload{
		&directory.TenantPush{}, &directory.ApplicationPush{}, &directory.AuthPush{}, &directory.DepartmentPush{}, &directory.FullPush{},
	} {
		require.Equal(t, directory.PushKinds()[i], payload.PushKind())
	}
	require.True(t, directory.Prod.Valid())
	require.True(t, directory.Test.Valid())
	require.False(t, directory.Dataset("").Valid())
	require.Equal(t, "just wrong", (&directory.InvalidError{Reason: "just wrong"}).Error())
}

// An application's JSON never holds its secret.
func TestAnApplicationNeverShowsItsSecret(t *testing.T) {
	t.Parallel()
	text, err := json.Marshal(directory.Application{AppID: "crm", SealedSecret: []byte("sealed"), SecretFingerprint: []byte("print")})
	require.NoError(t, err)
	var members map[string]any
	require.NoError(t, json.Unmarshal(text, &members))
	require.NotContains(t, members, "SealedSecret")
	require.NotContains(t, members, "SecretFingerprint")
	require.NotContains(t, string(text), "c2VhbGVk", "Base64 of the sealed secret")
}
