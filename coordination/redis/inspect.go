package redis

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	goredis "github.com/redis/go-redis/v9"
)

// Inspection is what a server shows of itself to somebody who only looks.
type Inspection struct {
	Version string
	// ReadOnly says that the server is another one's replica.
	ReadOnly bool
	// Eviction is what the server does when it is full; only "noeviction"
	// forgets nothing. MaxMemory is when that is, in bytes, 0 for no bound.
	Eviction  string
	MaxMemory int64
}

// Major is the first number of the version, 0 if it has none.
func (i Inspection) Major() int {
	first, _, _ := strings.Cut(i.Version, ".")
	n, _ := strconv.Atoi(first) // no number is no version
	return n
}

// Inspect asks the server that url names about itself. It changes nothing, and
// no error holds the URL's password.
func Inspect(ctx context.Context, url string) (found Inspection, err error) {
	c, err := Open(url, Options{})
	if err != nil {
		return found, err
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	info := make(map[string]string)
	for _, section := range []string{"server", "replication", "memory"} {
		text, err := c.client.rdb.Info(ctx, section).Result()
		if err != nil {
			return found, startError(err)
		}
		for line := range strings.Lines(text) {
			if name, value, ok := strings.Cut(strings.TrimSpace(line), ":"); ok {
				info[name] = value
			}
		}
	}
	found.Version, found.Eviction = info["redis_version"], info["maxmemory_policy"]
	found.ReadOnly = info["role"] == "slave"
	found.MaxMemory, _ = strconv.ParseInt(info["maxmemory"], 10, 64) // some servers do not tell it
	return found, nil
}

// startError says in an operator's words why a server does not serve us.
func startError(err error) error {
	switch {
	case goredis.HasErrorPrefix(err, "NOAUTH"), goredis.HasErrorPrefix(err, "WRONGPASS"):
		return fmt.Errorf("the server of redisUrl refuses the user or password: %w", err)
	case goredis.HasErrorPrefix(err, "NOPERM"):
		return fmt.Errorf("the server of redisUrl does not let its user ask: %w", err)
	default:
		return fmt.Errorf("the server of redisUrl does not answer: %w", err)
	}
}
