package config

import (
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"regexp"
	"slices"
	"strings"
)

// minKeyLength is the shortest access key or token taken, in characters.
const minKeyLength = 8

var namePattern = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$`)

// Validate reports everything that is wrong at once: the setting, the reason,
// and what to do.
func (c *Config) Validate() error {
	v := &checker{}
	_, _, err := net.SplitHostPort(c.Listen)
	v.check(err == nil, "listen", "%q: want host:port or :port", c.Listen)
	v.check(c.DataDir != "", "dataDir", "empty")
	v.check(c.BasePath == "" || (strings.HasPrefix(c.BasePath, "/") && !strings.HasSuffix(c.BasePath, "/")), "basePath", "%q: want /path without a slash at its end", c.BasePath)
	v.check(!strings.HasPrefix(c.BasePath+"/", "/api/"), "basePath", "/api is taken by the API")
	for i, key := range c.KitAccessKeys {
		v.check(len(key) >= minKeyLength, fmt.Sprintf("kitAccessKeys[%d]", i), "shorter than %d characters", minKeyLength)
	}
	for i, key := range c.BaseAccessKeys {
		v.check(len(key) >= minKeyLength, fmt.Sprintf("baseAccessKeys[%d]", i), "shorter than %d characters", minKeyLength)
	}
	if c.EncryptionKey != "" {
		raw, err := base64.StdEncoding.DecodeString(c.EncryptionKey)
		v.check(err == nil && len(raw) == 32, "encryptionKey", "want Base64 of 32 bytes; make one with `orgsync keys`")
	}
	v.check(c.AdminToken == "" || len(c.AdminToken) >= minKeyLength, "adminToken", "shorter than %d characters", minKeyLength)
	v.check(c.MongoURI == "", "mongoUri", "this version keeps its data in the embedded store only; remove the setting")
	v.check(c.RedisURL == "", "redisUrl", "this version runs as one process only; remove the setting")
	v.check(c.Window > 0, "window", "want more than 0")
	v.check(c.MaxBody > 0, "maxBody", "want more than 0")
	v.check(c.Guard.MaxDeletes >= 0, "guard.maxDeletes", "less than 0")
	v.check(c.Guard.MaxPercent >= 0 && c.Guard.MaxPercent <= 100, "guard.maxPercent", "want 0 to 100")
	v.check(c.Retention.Journal >= 0 && c.Retention.Tombstones >= 0 && c.Retention.TestData >= 0, "retention", "less than 0")
	v.check(c.Retention.Interval > 0, "retention.interval", "want more than 0")
	v.oneOf("log.level", c.Log.Level, "debug", "info", "warn", "error")
	v.oneOf("log.format", c.Log.Format, "text", "json")
	v.instances(c)
	names := make(map[string]bool)
	for i := range c.Targets {
		v.target(fmt.Sprintf("targets[%d]", i), &c.Targets[i])
		v.check(!names[c.Targets[i].Name], fmt.Sprintf("targets[%d].name", i), "%q is taken", c.Targets[i].Name)
		names[c.Targets[i].Name] = true
	}
	return errors.Join(v.errs...)
}

type checker struct{ errs []error }

func (v *checker) check(ok bool, name, format string, args ...any) {
	if !ok {
		v.errs = append(v.errs, fmt.Errorf("%s: %s", name, fmt.Sprintf(format, args...)))
	}
}

func (v *checker) oneOf(name, value string, allowed ...string) {
	v.check(slices.Contains(allowed, value), name, "%q: want %s", value, strings.Join(allowed, ", "))
}

func (v *checker) target(path string, t *Target) {
	v.check(namePattern.MatchString(t.Name), path+".name", "%q: want letters, digits, dots, dashes and underscores", t.Name)
	v.oneOf(path+".type", t.Type, "scim")
	v.oneOf(path+".onRevoke", t.OnRevoke, "", "deactivate", "delete", "keep")
	v.oneOf(path+".onDelete", t.OnDelete, "", "deactivate", "delete", "keep")
	v.oneOf(path+".userNames", t.UserNames, "", "qualified", "plain")
	v.oneOf(path+".auth.type", t.Auth.Type, "", "none", "bearer", "basic")
	v.check(t.Auth.Type != "bearer" || t.Auth.Token != "", path+".auth", "bearer without token or tokenFile")
	v.check(t.Auth.Type != "basic" || t.Auth.UserName != "", path+".auth", "basic without userName")
	v.check(t.Concurrency >= 0, path+".concurrency", "less than 0")
}
