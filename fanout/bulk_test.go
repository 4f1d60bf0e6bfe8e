package fanout

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/openkoo/connector/directory"
	"github.com/openkoo/connector/target/targettest"
)

// enterprise is a tree of departments, and accounts in them.
func enterprise(departments, users int) (tree, accounts []string) {
	for i := range departments {
		code := fmt.Sprintf("d%03d", i)
		if i > 0 {
			code += fmt.Sprintf("<d%03d", (i-1)/3)
		}
		tree = append(tree, code)
	}
	for i := range users {
		accounts = append(accounts, fmt.Sprintf("user%04d@d%03d", i, i%departments))
	}
	return tree, accounts
}

func TestWithBulkAChangedEntityCostsAFractionOfARequest(t *testing.T) {
	t.Parallel()
	const departments, users = 60, 480
	cost := make(map[string]float64)
	for name, peer := range map[string]func() (*peer, Target){
		"without": func() (*peer, Target) { return newPeer(t, "t") },
		"with":    func() (*peer, Target) { return peerOf(t, "t", bulky) },
	} {
		p, scim := peer()
		b := newBundle(t, scim)
		tree, accounts := enterprise(departments, users)
		p.proxy.Forget()
		b.tree(acme, tree...)
		b.users(acme, directory.FlagAdd, accounts...)
		b.start().settled()
		b.synced("t", p, acme)
		cost[name] = float64(len(p.writes())) / (departments + users)
		t.Logf("%s bulk: %.3f requests per changed entity", name, cost[name])
	}
	// How much goes into one request depends on what was due when a round began.
	require.Less(t, cost["with"], 0.5)
	require.Less(t, cost["with"], cost["without"]/2)
}

func TestWithBulkPhasesKeepTheirOrder(t *testing.T) {
	t.Parallel()
	p, scim := peerOf(t, "t", bulky)
	b := newBundle(t, scim)
	tree, accounts := enterprise(20, 100)
	b.tree(acme, tree...)
	b.users(acme, directory.FlagAdd, accounts...)
	b.start().settled()
	phase := func(r targettest.Request) int {
		switch text := r.Method + " " + r.Path + " " + r.Body; {
		case strings.Contains(text, `"path":"members`):
			return 2
		case strings.Contains(text, "/Users"):
			return 1
		default:
			return 0
		}
	}
	last := 0
	for _, r := range p.writes() {
		require.GreaterOrEqual(t, phase(r), last, r.Body)
		last = phase(r)
	}
	require.Equal(t, 2, last)
	require.NotEmpty(t, p.sent(http.MethodPost, "/Bulk"))
	b.synced("t", p, acme)
}

func TestALostBulkAnswerMakesNothingTwice(t *testing.T) {
	t.Parallel()
	p, scim := peerOf(t, "t", bulky)
	b := newBundle(t, scim)
	tree, accounts := enterprise(10, 200)
	b.tree(acme, tree...)
	b.users(acme, directory.FlagAdd, accounts...)
	var lost sync.Once
	p.proxy.Choose(func(r targettest.Request) (fault targettest.Fault) {
		if r.Path == "/Bulk" && strings.Contains(r.Body, "/Users") {
			lost.Do(func() { fault = targettest.LoseAnswer })
		}
		return fault
	})
	b.start().settled()
	require.Equal(t, Up, b.fanout.Targets()[0].State, "one lost answer is one failure")
	for range 3 {
		b.advance(time.Hour)
	}
	b.synced("t", p, acme)
	groups, users := p.Counts()
	require.Equal(t, []int{10, 200}, []int{groups, users})
}
