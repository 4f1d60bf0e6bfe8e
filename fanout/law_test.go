package fanout

import (
	"context"
	"fmt"
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/openkoo/connector/directory"
	"github.com/openkoo/connector/storage"
	"github.com/openkoo/connector/target/scim/scimserver"
	"github.com/openkoo/connector/target/targettest"
)

func department(code, parent string) *directory.Department {
	return &directory.Department{Code: code, Name: "name of " + code, ParentCode: parent}
}

// faults are what the law's target does to requests.
func faults() map[string]targettest.Fault {
	return map[string]targettest.Fault{
		"loses the answer": targettest.LoseAnswer,
		"resets":           targettest.Reset,
		"500":              targettest.Answer(http.StatusInternalServerError, ""),
		"400":              targettest.Answer(http.StatusBadRequest, ""),
		"403":              targettest.Answer(http.StatusForbidden, ""),
		"429":              targettest.Answer(http.StatusTooManyRequests, "", "Retry-After", "3"),
		"401":              targettest.Answer(http.StatusUnauthorized, ""),
		"a page":           targettest.Answer(http.StatusOK, "<html>", "Content-Type", "text/html"),
	}
}

// judged is a test whose failures are the law's, so that they are shrunk, and
// whose servers end with each check.
type judged struct {
	testing.TB
	rt *rapid.T
}

func (j judged) Errorf(format string, args ...any) { j.rt.Errorf(format, args...) }
func (j judged) Fatalf(format string, args ...any) { j.rt.Fatalf(format, args...) }
func (j judged) FailNow()                          { j.rt.FailNow() }
func (j judged) Cleanup(do func())                 { j.rt.Cleanup(do) }
func (j judged) Context() context.Context          { return j.rt.Context() }

// Whatever is pushed and however the target fails, after the faults end and
// dead letters are replayed the target has just what the store has.
func TestLawTheTargetConvergesAfterAnyFaults(t *testing.T) {
	t.Parallel()
	converges(t, scimserver.Options{})
}

func TestLawATargetWithBulkConvergesToo(t *testing.T) {
	t.Parallel()
	converges(t, bulky)
}

func converges(t *testing.T, options scimserver.Options) {
	t.Helper()
	rapid.Check(t, func(rt *rapid.T) {
		tb := judged{t, rt}
		p, scim := peerOf(tb, "t", options)
		b := newBundle(tb, scim)
		all := faults()
		names := []string{"loses the answer", "resets", "500", "400", "403", "429", "401", "a page"}
		b.start()
		for range rapid.IntRange(1, 12).Draw(rt, "steps") {
			var plan []targettest.Fault
			for _, name := range rapid.SliceOfN(rapid.SampledFrom(append(names, "well", "well", "well", "well")), 0, 8).Draw(rt, "faults") {
				plan = append(plan, all[name])
			}
			p.proxy.Next(plan...)
			b.randomPush(rt)
			switch rapid.SampledFrom([]string{"on", "on", "settle", "wait", "restart", "crash"}).Draw(rt, "then") {
			case "settle":
				b.settled()
			case "wait":
				b.clock.advance(seconds(rapid.IntRange(1, 600).Draw(rt, "seconds")))
			case "crash":
				b.stop()
				b.randomPush(rt)
				b.crash(rapid.IntRange(0, 4).Draw(rt, "outcomes"))
				b.start()
			case "restart":
				b.stop()
				b.start()
			}
		}
		p.proxy.Heal()
		b.converge("t")
		b.synced("t", p, acme)
		p.proxy.Forget()
		b.stop()
		b.start()
		b.settledSince("t", 0)
		require.Empty(rt, p.writes(), "and nothing more is sent")
	})
}

// randomPush takes one push in, of few names so that they meet.
func (b *bundle) randomPush(rt *rapid.T) {
	codes := rapid.SampledFrom([]string{"a", "b", "c", "d"})
	item := func() directory.DepartmentItem {
		d := directory.DepartmentItem{Code: codes.Draw(rt, "code"), Name: rapid.SampledFrom([]string{"x", "y", "部"}).Draw(rt, "name")}
		if parent := rapid.SampledFrom([]string{"", "a", "b", "c", "e"}).Draw(rt, "parent"); parent < d.Code {
			d.ParentCode = parent // no cycles
		}
		return d
	}
	user := fmt.Sprintf("%s@%s", rapid.SampledFrom([]string{"ann", "bob"}).Draw(rt, "user"), codes.Draw(rt, "place"))
	switch rapid.SampledFrom([]string{"full", "put", "put", "delete", "user", "user", "revoke", "remove", "tenant"}).Draw(rt, "push") {
	case "full":
		full := &directory.FullPush{}
		seen := make(map[string]bool)
		for range rapid.IntRange(0, 4).Draw(rt, "departments") {
			if d := item(); !seen[d.Code] {
				seen[d.Code] = true
				full.Departments = append(full.Departments, d)
			}
		}
		b.push(acme, directory.FlagModify, full)
	case "put":
		b.department(acme, directory.FlagModify, item())
	case "delete":
		b.department(acme, directory.FlagDelete, directory.DepartmentItem{Code: codes.Draw(rt, "code")})
	case "user":
		b.users(acme, directory.FlagAdd, user)
	case "revoke":
		b.users(acme, directory.FlagCancel, user)
	case "remove":
		b.users(acme, directory.FlagDelete, user)
	case "tenant":
		b.tenant(acme, "acme")
	}
}

// converge lets time pass and replays until everything is delivered.
func (b *bundle) converge(name string) {
	b.Helper()
	for range 40 {
		_, err := b.store.Replay(b.Context(), storage.DeliveryFilter{Target: name})
		require.NoError(b, err)
		count := b.count(name)
		require.NoError(b, b.fanout.Resume(b.Context(), name))
		b.settledSince(name, count)
		counts, err := b.store.Counts(b.Context(), name, nil)
		require.NoError(b, err)
		open := counts.Unrelayed // the gate may have been closed when it came to rest
		for state, n := range counts.Slots {
			if state != storage.SlotDelivered {
				open += n
			}
		}
		if open == 0 {
			return
		}
		b.advance(2 * 3600 * seconds(1))
	}
	require.Fail(b, "the target does not converge", b.openSlots(name))
}
