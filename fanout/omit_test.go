package fanout

import (
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/openkoo/connector/directory"
	"github.com/openkoo/connector/storage"
	"github.com/openkoo/connector/target"
	"github.com/openkoo/connector/target/targettest"
)

// people are accounts that all have a telephone number, most of them none.
func people(n int, mobile string) *directory.AuthPush {
	push := &directory.AuthPush{AppID: "app"}
	for i := range n {
		name := fmt.Sprintf("%s-%03d", map[bool]string{true: "bad", false: "good"}[mobile == "无"], i)
		push.Users = append(push.Users, directory.UserItem{
			UserName: name, Name: "员工" + name, OrgCode: "a", Role: "user", Enabled: true, Mobile: mobile, Email: name + "@example.com",
		})
	}
	return push
}

// refusingMobile is a server that does not take every telephone number.
func refusingMobile(words string) func(targettest.Request) targettest.Fault {
	return failing(targettest.Answer(http.StatusBadRequest, words), "/Users", `"phoneNumbers"`, "无")
}

// A whole batch has a bad attribute that nobody needs: all of them get their
// accounts, and so do those behind them. Nobody waits for it.
func TestAnAttribute_ThatIsRefusedIsLeftOut(t *testing.T) {
	t.Parallel()
	for name, words := range map[string]string{
		"named":   `{"schemas":["urn:ietf:params:scim:api:messages:2.0:Error"],"status":"400","scimType":"invalidValue","detail":"phoneNumbers: not a number"}`,
		"unnamed": `{"schemas":["urn:ietf:params:scim:api:messages:2.0:Error"],"status":"400","scimType":"invalidValue","detail":"bad value"}`,
		"untyped": `no`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p, corp := newPeer(t, "t")
			b := newBundle(t, corp).start()
			b.tree(acme, "a")
			b.users(acme, directory.FlagAdd, "leaver@a")
			b.settled()
			p.proxy.Choose(refusingMobile(words))
			b.push(acme, directory.FlagAdd, people(3*defaultQuarantineAfter, "无"))
			b.push(acme, directory.FlagAdd, people(30, "+8613800138000"))
			b.users(acme, directory.FlagCancel, "leaver")
			b.settled()
			require.Equal(t, Up, b.fanout.Targets()[0].State)
			require.Zero(t, b.counts("t")[storage.SlotDead])
			leaver, _, _ := p.account(acme, "leaver")
			require.False(t, leaver.Active)
			for _, userName := range []string{"bad-000", "bad-059", "good-000"} {
				account, there, _ := p.account(acme, userName)
				require.True(t, there, userName)
				require.True(t, account.Active, userName)
			}
			slot := b.slot("t", acme, storage.SlotUser, "bad-000")
			require.Equal(t, storage.SlotDelivered, slot.State)
			require.Equal(t, omittedClass, slot.ErrorClass)
			require.Contains(t, slot.LastError, "delivered without phoneNumbers: ")
			require.Empty(t, b.slot("t", acme, storage.SlotUser, "good-000").LastError)
			posted := len(p.sent(http.MethodPost, "/Users")) + len(p.sent(http.MethodPatch, "/Users"))
			require.Less(t, posted, 4*3*defaultQuarantineAfter+40+30, "what it was for the last one is tried first")

			// A resync compares what was sent, and sends nothing.
			p.proxy.Forget()
			report := b.resync(ResyncOptions{})
			require.Equal(t, storage.ResyncDone, report.State)
			require.Empty(t, p.writes())

			// The next change is tried whole.
			p.proxy.Heal()
			changed := people(1, "无")
			changed.Users[0].Email = "new@example.com"
			b.push(acme, directory.FlagModify, changed)
			b.settled()
			require.Empty(t, b.slot("t", acme, storage.SlotUser, "bad-000").LastError)
		})
	}
}

// What a target cannot do without is the account's own fault, not the target's.
func TestAContentRefusal_IsTheObjectsOwn(t *testing.T) {
	t.Parallel()
	p, corp := newPeer(t, "t")
	b := newBundle(t, corp).start()
	b.tree(acme, "a")
	b.settled()
	p.proxy.Choose(failing(targettest.Answer(http.StatusBadRequest, `{"scimType":"invalidValue","detail":"bad name"}`), "POST /Users", "员工bad"))
	b.push(acme, directory.FlagAdd, people(3*defaultQuarantineAfter, "无"))
	b.push(acme, directory.FlagAdd, people(30, "1"))
	b.settled()
	require.Equal(t, Up, b.fanout.Targets()[0].State)
	require.Equal(t, 3*defaultQuarantineAfter, b.counts("t")[storage.SlotDead])
	_, there, _ := p.account(acme, "good-029")
	require.True(t, there)
}

// A target that is in quarantine for what it refuses is still told who leaves.
func TestAQuarantine_KeepsNobodysAccess(t *testing.T) {
	t.Parallel()
	p, corp := newPeer(t, "t")
	corp.OnDelete = Delete
	b := newBundle(t, corp).start()
	b.tree(acme, "a", "b")
	b.users(acme, directory.FlagAdd, "ann@a", "bob@a", "cid@a")
	b.settled()
	p.proxy.Choose(failing(targettest.Answer(http.StatusBadRequest, "no"), "POST /"))
	codes := []string{"a", "b"}
	for i := range 2 * defaultQuarantineAfter {
		codes = append(codes, fmt.Sprintf("d%02d", i))
	}
	b.tree(acme, codes...)
	b.settled()
	require.Equal(t, Quarantined, b.fanout.Targets()[0].State)
	p.proxy.Forget()
	b.users(acme, directory.FlagCancel, "ann")
	b.users(acme, directory.FlagDelete, "bob")
	b.department(acme, directory.FlagDelete, item("b"))
	b.settled()
	require.Equal(t, Quarantined, b.fanout.Targets()[0].State, "that says nothing of what it refuses")
	ann, _, _ := p.account(acme, "ann")
	require.False(t, ann.Active)
	_, there, _ := p.account(acme, "bob")
	require.False(t, there)
	require.Empty(t, p.sent(http.MethodPost, "/Groups"), "nothing else is sent")
	require.Len(t, p.sent(http.MethodDelete, "/Groups"), 1)

	// Also after a restart, and again when it failed.
	b.stop()
	p.proxy.Choose(failing(targettest.Answer(http.StatusBadRequest, "no"), "PATCH /"))
	b.users(acme, directory.FlagCancel, "cid")
	b.start()
	b.settledSince("t", 0)
	cid, _, _ := p.account(acme, "cid")
	require.True(t, cid.Active)
	require.Equal(t, storage.SlotRetrying, b.slot("t", acme, storage.SlotUser, "cid").State)
	p.proxy.Choose(failing(targettest.Answer(http.StatusBadRequest, "no"), "POST /"))
	b.advance(leaversRest)
	b.advance(leaversRest)
	cid, _, _ = p.account(acme, "cid")
	require.False(t, cid.Active)
}

// What a trial finds refused says nothing of what is of another kind.
func TestATrial_GoesOnWithAnotherKind(t *testing.T) {
	t.Parallel()
	p, corp := newPeer(t, "t")
	b := newBundle(t, corp).start()
	b.tree(acme, "a")
	b.settled()
	p.proxy.Choose(failing(targettest.Answer(http.StatusBadRequest, "no"), "POST /Users"))
	b.push(acme, directory.FlagAdd, people(2*defaultQuarantineAfter, "1"))
	b.settled()
	require.Equal(t, Quarantined, b.fanout.Targets()[0].State)
	b.tree(acme, "a", "b")
	b.settled()
	b.until(b.fanout.Targets()[0].NextProbe)
	b.settled()
	require.Equal(t, storage.SlotDelivered, b.slot("t", acme, storage.SlotDepartment, "b").State)
}

// A target may repeat in its refusal whatever it was sent.
func TestPersonalData_OfAnAnswerIsMasked(t *testing.T) {
	t.Parallel()
	u := target.User{
		UserName: "zhang@acme", AccountName: "zhang", DisplayName: "张三", Mobile: "+8613800138000", Email: "zhang.san@example.com", Title: "Head",
		Mapped: []target.Mapped{{Name: "x", Value: []any{"secret hobby", true}}},
	}
	for said, want := range map[string]string{
		"张三 has no right: zhang.san@example.com":     "*** has no right: ***",
		`{"mobile":"+8613800138000"}`:                `{"mobile":"***"}`,
		`{"name":"\u5f20\u4e09"}`:                    `{"name":"***"}`,
		"ZHANG.SAN@EXAMPLE.COM is taken":             "*** is taken",
		"Headers are fine, head is not":              "Headers are fine, *** is not",
		"zhang@acme is taken":                        "zhang@acme is taken",
		"?q=%E5%BC%A0%E4%B8%89":                      "?q=***",
		"secret hobby is true":                       "*** is true",
		strings.Repeat("x", 290) + " zhang.san@exa…": strings.Repeat("x", 290) + " ***…",
		"nothing of it":                              "nothing of it",
	} {
		err := masked(&target.Error{Class: target.Permanent, Op: "put", Detail: said}, u)
		require.Equal(t, "put: permanent: "+want, err.Error())
	}

	p, corp := newPeer(t, "t")
	b := newBundle(t, corp).start()
	b.tree(acme, "a")
	p.proxy.Choose(failing(targettest.Answer(http.StatusBadRequest, `{"detail":"员工bad-000 bad-000@example.com refused"}`), "POST /Users"))
	b.push(acme, directory.FlagAdd, people(1, "无"))
	b.settled()
	slot := b.slot("t", acme, storage.SlotUser, "bad-000")
	require.Equal(t, storage.SlotDead, slot.State)
	require.Contains(t, slot.LastError, "*** *** refused")
	require.NotRegexp(t, regexp.MustCompile("员工|example"), slot.LastError+b.logged.String())
	require.Contains(t, b.logged.String(), "dead letters")
}
