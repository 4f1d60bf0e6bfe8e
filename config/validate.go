package config

import (
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// minKeyLength is the shortest access key or token taken, in characters.
const minKeyLength = 8

// minResyncEvery is the shortest time between two resyncs of a target that the
// schedule takes: each reads the whole of it.
const minResyncEvery = 5 * time.Minute

var (
	namePattern = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$`)
	pathPattern = regexp.MustCompile(`^(/[A-Za-z0-9._~-]+)*$`)
)

// Validate reports everything that is wrong at once: the setting, the reason,
// and what to do. Load has called it already; it is for configurations that
// were made otherwise.
func (c *Config) Validate() error {
	var v checker
	v.config(c)
	return errors.Join(v.errs...)
}

// checker gathers faults.
type checker struct {
	errs []error
	// known are faults of settings that could not be read at all; those are
	// not checked for their range too.
	known []error
}

func (v *checker) checkf(ok bool, name, format string, args ...any) {
	if ok || slices.ContainsFunc(v.known, func(fault error) bool { return strings.HasPrefix(fault.Error(), name+":") }) {
		return
	}
	v.errs = append(v.errs, fmt.Errorf("%s: %s", name, fmt.Sprintf(format, args...)))
}

func (v *checker) oneOf(name, value string, allowed ...string) {
	words := slices.DeleteFunc(slices.Clone(allowed), func(word string) bool { return word == "" })
	v.checkf(slices.Contains(allowed, value), name, "%q: want %s", value, strings.Join(words, ", "))
}

// healthPaths are those beside the API that no production address can have.
var healthPaths = []string{"/healthz", "/readyz", "/metrics"}

func (v *checker) config(c *Config) {
	v.checkf(validAddress(c.Listen), "listen", "%q: want host:port or :port", c.Listen)
	v.checkf(c.DataDir != "", "dataDir", "empty")
	v.checkf(pathPattern.MatchString(c.BasePath), "basePath", "%q: want /path of letters, digits, dots and dashes, without a slash at its end", c.BasePath)
	v.checkf(!strings.HasPrefix(c.BasePath+"/", "/api/"), "basePath", "/api is taken by the API")
	v.checkf(!slices.Contains(healthPaths, c.BasePath), "basePath", "%s is taken by the connector itself", c.BasePath)
	v.checkf(c.PublicURL == "" || validWebAddress(c.PublicURL), "publicUrl", "%q: want https://, a host, and the path", c.PublicURL)
	v.keys(c)
	v.checkf(c.RedisURL == "" || c.MongoURI != "", "redisUrl", "the embedded store is one process's; set mongoUri too, or remove the setting")
	v.checkf(c.MongoDatabase != "", "mongoDatabase", "empty")
	v.checkf(c.Window > 0, "window", "want more than 0")
	v.checkf(c.Ahead > 0, "ahead", "want more than 0")
	v.checkf(c.AnswerWithin > 0 && c.AnswerWithin <= 20*time.Second, "answerWithin", "want more than 0 and at most 20s: the marketplace waits no longer")
	v.checkf(c.MaxBody > 0, "maxBody", "want more than 0")
	v.checkf(c.MaxBodies == 0 || c.MaxBodies >= c.MaxBody, "maxBodies", "less than maxBody")
	v.checkf(c.Guard.MaxDeletes >= 0, "guard.maxDeletes", "less than 0")
	v.checkf(c.Guard.MaxPercent >= 0 && c.Guard.MaxPercent <= 100, "guard.maxPercent", "want 0 to 100")
	v.checkf(c.Retention.Journal >= 0, "retention.journal", "less than 0")
	v.checkf(c.Retention.Tombstones >= 0, "retention.tombstones", "less than 0")
	v.checkf(c.Retention.TestData >= 0, "retention.testData", "less than 0")
	v.checkf(c.Retention.Interval > 0, "retention.interval", "want more than 0")
	v.oneOf("log.level", c.Log.Level, "debug", "info", "warn", "error")
	v.oneOf("log.format", c.Log.Format, "text", "json")
	v.instances(c)
	names := make(map[string]bool)
	for i := range c.Targets {
		v.target(fmt.Sprintf("targets[%d]", i), &c.Targets[i])
		v.checkf(!names[c.Targets[i].Name], fmt.Sprintf("targets[%d].name", i), "%q is taken", c.Targets[i].Name)
		names[c.Targets[i].Name] = true
	}
}

func (v *checker) keys(c *Config) {
	for i, key := range c.KitAccessKeys {
		v.checkf(len(key) >= minKeyLength, fmt.Sprintf("kitAccessKeys[%d]", i), "shorter than %d characters", minKeyLength)
	}
	for i, key := range c.BaseAccessKeys {
		v.checkf(len(key) >= minKeyLength, fmt.Sprintf("baseAccessKeys[%d]", i), "shorter than %d characters", minKeyLength)
	}
	v.checkf(c.EncryptionKey == "" || validEncryptionKey(c.EncryptionKey.Reveal()), "encryptionKey", "want Base64 of 32 bytes; `orgsync keys` makes one")
	for i, key := range c.PreviousEncryptionKeys {
		v.checkf(validEncryptionKey(key.Reveal()), fmt.Sprintf("previousEncryptionKeys[%d]", i), "want Base64 of 32 bytes")
	}
	v.checkf(c.AdminToken == "" || len(c.AdminToken) >= minKeyLength, "adminToken", "shorter than %d characters", minKeyLength)
}

// target checks what all targets share; each connector checks the rest.
func (v *checker) target(path string, t *Target) {
	v.checkf(namePattern.MatchString(t.Name), path+".name", "%q: want letters, digits, dots, dashes and underscores", t.Name)
	v.oneOf(path+".type", t.Type, "scim", "webhook", "ldap", "keycloak")
	v.oneOf(path+".onRevoke", t.OnRevoke, "", "deactivate", "delete", "keep")
	v.oneOf(path+".onFreeze", t.OnFreeze, "", "deactivate", "nothing")
	v.oneOf(path+".onRelease", t.OnRelease, "", "deactivate", "delete", "nothing")
	v.oneOf(path+".onDelete", t.OnDelete, "", "deactivate", "delete", "keep")
	v.oneOf(path+".userNames", t.UserNames, "", "qualified", "plain")
	v.checkf(!slices.Contains(t.Tenants, ""), path+".tenants", "an empty entry; want tenantIds, or * for all")
	v.checkf(t.Concurrency >= 0, path+".concurrency", "less than 0")
	v.checkf(t.QuarantineAfter >= 0, path+".quarantineAfter", "less than 0")
	v.checkf(t.DeleteAfter >= 0, path+".deleteAfter", "less than 0")
	if t.Removals.MaxPerHour != nil {
		v.checkf(*t.Removals.MaxPerHour >= 0, path+".removals.maxPerHour", "less than 0")
	}
	if t.Removals.MaxPercent != nil {
		v.checkf(*t.Removals.MaxPercent >= 0 && *t.Removals.MaxPercent <= 100, path+".removals.maxPercent", "want 0 to 100")
	}
	v.checkf(t.ResyncEvery == 0 || t.ResyncEvery >= minResyncEvery, path+".resyncEvery", "%s: want 0 or at least %s", t.ResyncEvery, minResyncEvery)
	v.checkf(t.ResyncEvery == 0 || t.Type != "webhook", path+".resyncEvery", "not for webhook: there is nothing to read out")
	v.rate(path+".rate", &t.Rate)
	v.checkf(t.Backoff.Base >= 0, path+".backoff.base", "less than 0")
	v.checkf(t.Backoff.Max == 0 || t.Backoff.Max >= t.Backoff.Base, path+".backoff.max", "less than backoff.base")
	v.auth(path+".auth", &t.Auth)
	v.fits(path, t)
}

// maxRate is more requests a second than any target takes.
const maxRate = 100_000

func (v *checker) rate(path string, r *Rate) {
	v.checkf(r.PerSecond >= 0 && r.PerSecond <= maxRate, path+".perSecond", "want 0 to %d", maxRate)
	v.checkf(r.Burst >= 0 && r.Burst <= maxRate, path+".burst", "want 0 to %d", maxRate)
	v.checkf(r.Least >= 0 && r.Least <= maxRate, path+".least", "want 0 to %d", maxRate)
	v.checkf(r.PerSecond == 0 || r.Least <= r.PerSecond, path+".least", "more than perSecond")
}

// fits refuses settings that the target's type would not use.
func (v *checker) fits(path string, t *Target) {
	auth := map[string]string{"webhook": "signature", "keycloak": "basic"}[t.Type]
	v.checkf(auth == "" || t.Auth.Type == auth, path+".auth.type", "%q: %s wants %s", t.Auth.Type, t.Type, auth)
	v.checkf(t.Type != "scim" || t.Auth.Type != "signature", path+".auth.type", "signature is for webhook")
	v.checkf(t.Type != "ldap" || t.Auth.Type != "signature" && t.Auth.Type != "bearer", path+".auth.type", "%q: ldap wants basic", t.Auth.Type)
	v.checkf(t.Type == "scim" || t.Parents == "", path+".parents", "for scim only")
	v.checkf(t.Type == "scim" || t.MembersPerChange == 0, path+".membersPerChange", "for scim only")
	v.checkf(t.Type == "keycloak" || t.Realm == "", path+".realm", "for keycloak only")
	v.checkf(t.Type != "webhook" || len(t.Mapping.User)+len(t.Mapping.Department) == 0, path+".mapping",
		"not for webhook: its messages are whole snapshots; map where they are received")
	v.checkf(t.Type == "scim" || t.SCIM == SCIM{}, path+".scim", "for scim only")
	v.checkf(t.Type == "ldap" || t.LDAP == LDAP{}, path+".ldap", "for ldap only")
}

// auth refuses credentials that the type would not use: whoever wrote them
// believes they are sent.
func (v *checker) auth(path string, a *Auth) {
	bearer, basic := a.Token != "" || a.TokenFile != "", a.UserName != "" || a.Password != "" || a.PasswordFile != ""
	signing := len(a.Secrets) > 0 || a.SecretsFile != ""
	v.oneOf(path+".type", a.Type, "", "none", "bearer", "basic", "signature")
	v.checkf(!signing || a.Type == "signature", path+".type", "%q, and signing secrets are given; want signature", a.Type)
	switch a.Type {
	case "bearer":
		v.checkf(bearer, path+".token", "missing; give token or tokenFile")
		v.checkf(!basic, path+".type", "bearer, and a user name or password is given")
	case "basic":
		v.checkf(a.UserName != "", path+".userName", "missing")
		v.checkf(!bearer, path+".type", "basic, and a token is given")
	case "signature":
		v.checkf(signing, path+".secrets", "missing; give secrets or secretsFile")
		v.checkf(!bearer && !basic, path+".type", "signature, and a token, user name or password is given")
	case "", "none":
		v.checkf(!bearer && !basic, path+".type", "%q, and credentials are given; want bearer or basic", a.Type)
	}
}

// validAddress takes what net.Listen can listen on over TCP.
func validAddress(address string) bool {
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		return false
	}
	n, err := strconv.Atoi(port)
	return err == nil && n >= 0 && n <= 65535
}

func validWebAddress(address string) bool {
	u, err := url.Parse(address)
	return err == nil && u.Host != "" && (u.Scheme == "https" || u.Scheme == "http")
}

func validEncryptionKey(text string) bool {
	raw, err := base64.StdEncoding.DecodeString(text)
	return err == nil && len(raw) == 32
}
