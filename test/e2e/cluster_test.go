package e2e

import (
	"context"
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/openkoo/connector/storage/mongo/mongotest"
)

// mongoServer is the MongoDB of all tests; each has a database of its own.
var mongoServer = sync.OnceValues(func() (*mongotest.Server, error) {
	mongoStarted.Store(true)
	return mongotest.Start(context.Background())
})

var mongoStarted atomic.Bool

// stopMongo stops the server if a test has started it.
func stopMongo() error {
	if !mongoStarted.Load() {
		return nil
	}
	server, err := mongoServer()
	if err != nil {
		return nil //nolint:nilerr // the test that started it has told
	}
	return server.Stop()
}

// database is the name of a new database and the address of its server.
func database(t *testing.T) (uri, name string) {
	t.Helper()
	server, err := mongoServer()
	require.NoError(t, err)
	name = "orgsync_e2e_" + strings.ReplaceAll(uuid.NewString(), "-", "")
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		require.NoError(t, server.Drop(ctx, name))
	})
	return server.URI, name
}

// cluster is some replicas on one MongoDB and one Redis, and the SCIM server
// that they deliver to.
type cluster struct {
	t        *testing.T
	spy      *spy
	replicas []*connector

	next     atomic.Int64
	answered atomic.Int64

	mu    sync.Mutex
	sends map[string]chan struct{} // closed with the next push to a replica
}

// newCluster starts replicas, all at the same moment and on nothing: no
// database, no keys.
func newCluster(t *testing.T, redisURL string, names ...string) *cluster {
	t.Helper()
	uri, name := database(t)
	return newClusterOn(t, uri, name, redisURL, names...)
}

// newClusterOn starts replicas on a database; without a redisURL each
// coordinates for itself.
func newClusterOn(t *testing.T, uri, name, redisURL string, names ...string) *cluster {
	t.Helper()
	c := &cluster{t: t, spy: newSpy(t), sends: make(map[string]chan struct{})}
	dir := t.TempDir()
	for _, replica := range names {
		c.replicas = append(c.replicas, configure(t, dir, replica, backends(uri, name, redisURL)+c.spy.targets(replica)))
	}
	for _, r := range c.replicas {
		r.launch()
	}
	for _, r := range c.replicas {
		r.ready()
	}
	return c
}

// backends is the configuration of the store and of the coordination, and of a
// log that a test can read.
func backends(mongoURI, database, redisURL string) string {
	text := "log: {level: debug, format: json}\nmongoUri: " + strconv.Quote(mongoURI) + "\nmongoDatabase: " + database + "\n"
	if redisURL != "" {
		text += "redisUrl: " + strconv.Quote(redisURL) + "\n"
	}
	return text
}

// named is the replica of a name.
func (c *cluster) named(name string) *connector {
	for _, r := range c.replicas {
		if r.name == name {
			return r
		}
	}
	require.Fail(c.t, "no such replica", name)
	return nil
}

// turn is the replica that gets the next call, each in its turn, also those that
// are gone.
func (c *cluster) turn() *connector {
	r := c.replicas[int(c.next.Add(1))%len(c.replicas)]
	c.mu.Lock()
	defer c.mu.Unlock()
	if sent, ok := c.sends[r.name]; ok {
		close(sent)
		delete(c.sends, r.name)
	}
	return r
}

// sending is closed when the next push goes to a replica.
func (c *cluster) sending(name string) <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	sent := make(chan struct{})
	c.sends[name] = sent
	return sent
}

// lost counts the attempts that the replicas' logs say were made again because
// the answer was lost, by slot.
func (c *cluster) lost() map[slotName]int {
	counts := make(map[slotName]int)
	for _, r := range c.replicas {
		for text := range strings.Lines(r.child.String()) {
			var line struct{ Msg, Scope, Kind, Key string }
			if json.Unmarshal([]byte(text), &line) == nil && line.Msg == "lost answer" {
				counts[slotName{line.Scope, line.Kind, line.Key}]++
			}
		}
	}
	return counts
}

// sentOnce checks that the SCIM server was told nothing twice, but what one of
// the replicas named had told it before it went, and of that only what the log
// of another says: its answer was lost.
func (c *cluster) sentOnce(gone ...string) {
	c.t.Helper()
	lost := c.lost()
	for slot, before := range c.spy.repeats() {
		for _, replica := range before {
			require.Contains(c.t, gone, replica, "%s %s of %s was sent twice, and %s had its answer", slot.kind, slot.key, slot.scope, replica)
		}
		require.LessOrEqual(c.t, len(before), lost[slot], "%s %s of %s was sent again more often than the logs tell of a lost answer", slot.kind, slot.key, slot.scope)
	}
}

// readiness is what /readyz says: its status code and the word.
func (c *connector) readiness() (int, string) {
	c.t.Helper()
	response, err := http.DefaultClient.Do(c.request("/readyz"))
	require.NoError(c.t, err)
	defer func() { _ = response.Body.Close() }()
	var body struct{ Status any }
	_ = json.NewDecoder(response.Body).Decode(&body)
	word, _ := body.Status.(string)
	return response.StatusCode, word
}

// all waits until every replica says a word of its readiness.
func (c *cluster) all(word string) {
	c.t.Helper()
	for _, r := range c.replicas {
		r.says(word)
	}
}

// says waits until a replica's readiness is a word.
func (c *connector) says(word string) {
	c.t.Helper()
	require.Eventually(c.t, func() bool {
		_, said := c.readiness()
		return said == word
	}, 2*time.Minute, 50*time.Millisecond, "%s does not become %s", c.name, word)
}
