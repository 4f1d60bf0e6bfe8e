package e2e

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"net/http/httptest"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/openkoo/connector/directory"
	"github.com/openkoo/connector/marketplace/client"
	"github.com/openkoo/connector/target/scim/scimserver"
	"github.com/openkoo/connector/target/scim/scimtest"
	"github.com/openkoo/connector/test/peers/hostile"
)

var (
	chaosSeeds = flag.Int("chaos.seeds", 20, "how many seeds TestChaos runs")
	chaosSeed  = flag.Uint64("chaos.seed", 0, "the one seed that TestChaos runs again")
)

// Whatever order pushes come in, however often, whatever a target does and
// whenever the process is killed: in the end the target has what the store
// has, the store has what the pushes mean, and no answered push is missing.
// A failing seed is run again with -chaos.seed.
func TestChaos(t *testing.T) {
	t.Parallel()
	seeds := make([]uint64, *chaosSeeds)
	for i := range seeds {
		seeds[i] = uint64(i + 1)
	}
	if *chaosSeed != 0 {
		seeds = []uint64{*chaosSeed}
	}
	// Lives wait more than they compute: some go on at once, on few cores too.
	var lives errgroup.Group
	lives.SetLimit(chaosAtOnce)
	for _, seed := range seeds {
		lives.Go(func() error {
			t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) { chaos(t, seed) })
			return nil
		})
	}
	require.NoError(t, lives.Wait())
}

// chaosAtOnce is how many seeds run at once.
const chaosAtOnce = 4

// chaosSettings are those of a connector in chaos. The guard is not what this
// is about: only a list that deletes all is held. The waits after failures are
// short, or most of a life would be waiting.
const chaosSettings = `guard: {maxDeletes: 1000, maxPercent: 100}
targets:
  - {name: hostile, type: scim, url: %q, auth: {type: bearer, token: scim-token}, backoff: {base: 20ms, max: 500ms}, rate: {least: 100}, removals: {maxPercent: 100}}
`

func chaos(t *testing.T, seed uint64) {
	t.Helper()
	options := scimserver.Options{Token: "scim-token"}
	if seed%2 == 0 { // every other server takes bulk requests
		options.Bulk = scimserver.Bulk{MaxOperations: 50, MaxPayload: 1 << 20}
	}
	server, err := scimserver.New(options)
	require.NoError(t, err)
	foe := hostile.New(server, seed, 25)
	listening := httptest.NewServer(foe)
	t.Cleanup(listening.Close)
	calm := httptest.NewServer(server) // the same server, to look at in peace
	t.Cleanup(calm.Close)

	c := start(t, fmt.Sprintf(chaosSettings, listening.URL))
	p := &pusher{t: t, c: c, scope: directory.Scope{Dataset: directory.Prod, InstanceID: "inst/1", TenantID: "t1"}}
	life := newChaosLife(seed)
	var answered []directory.SourceTime
	for _, one := range life.arrivals() {
		p.survive(life.dice, one)
		answered = append(answered, one.at)
	}
	foe.Calm()
	p.check(life.enterprise, peer{Server: scimtest.Server{URL: calm.URL, Token: "scim-token"}, name: "hostile"})
	c.journaled(p.scope, answered)
	struck := 0
	for _, n := range foe.Struck() {
		struck += n
	}
	require.Positive(t, struck, "nothing failed: the seed is of no use")
}

// timed is a push with the time the marketplace gave it.
type timed struct {
	at      directory.SourceTime
	flag    directory.Flag
	payload directory.Payload
}

// chaosLife is the random life of a small enterprise.
type chaosLife struct {
	*enterprise
	dice   *rand.Rand
	clock  time.Time
	pushes []timed
}

func newChaosLife(seed uint64) *chaosLife {
	l := &chaosLife{
		enterprise: &enterprise{departments: map[string]directory.DepartmentItem{}, users: map[string]directory.UserItem{}, revoked: map[string]bool{}},
		dice:       rand.New(rand.NewPCG(seed, 7)),
		clock:      time.Now().Add(-time.Hour).Truncate(time.Second),
	}
	l.add(directory.FlagAdd, &directory.TenantPush{OrderID: "o", Code: "acme", Name: "企业", DomainName: "acme.example.com"})
	for i := range 12 {
		l.place(fmt.Sprintf("d%02d", i))
	}
	l.add(directory.FlagModify, l.full())
	for range 60 {
		l.step()
	}
	return l
}

func (l *chaosLife) add(flag directory.Flag, payload directory.Payload) {
	l.clock = l.clock.Add(time.Second)
	l.pushes = append(l.pushes, timed{directory.SourceTimeOf(l.clock), flag, payload})
}

// place puts a department below one of a smaller code, so that no order of
// arrival closes a cycle.
func (l *chaosLife) place(code string) directory.DepartmentItem {
	d := directory.DepartmentItem{Code: code, Name: fmt.Sprintf("部门%d", l.dice.IntN(1000))}
	if parent := fmt.Sprintf("d%02d", l.dice.IntN(20)); parent < code {
		d.ParentCode = parent
	}
	l.departments[code] = d
	return d
}

func (l *chaosLife) step() {
	code, name := fmt.Sprintf("d%02d", l.dice.IntN(20)), fmt.Sprintf("user%02d", l.dice.IntN(12))
	switch draw := l.dice.IntN(100); {
	case draw < 8:
		codes := l.codes()
		slices.Sort(codes)
		delete(l.departments, codes[l.dice.IntN(len(codes))])
		l.place(code)
		l.add(directory.FlagModify, l.full())
	case draw < 40:
		l.add(directory.FlagModify, &directory.DepartmentPush{DepartmentItem: l.place(code)})
	case draw < 52 && len(l.departments) > 6:
		delete(l.departments, code)
		l.add(directory.FlagDelete, &directory.DepartmentPush{DepartmentItem: directory.DepartmentItem{Code: code}})
	case draw < 90:
		l.users[name] = directory.UserItem{UserName: name, Name: fmt.Sprintf("员工%d", l.dice.IntN(1000)), OrgCode: code, Role: "user", Enabled: true}
		l.add(directory.FlagModify, &directory.AuthPush{AppID: "app-1", Users: []directory.UserItem{l.users[name]}})
	default:
		delete(l.users, name)
		l.add(directory.FlagDelete, &directory.AuthPush{AppID: "app-1", Users: []directory.UserItem{{UserName: name}}})
	}
}

// arrivals are the pushes as they arrive: out of order within a window, and
// some of them again.
func (l *chaosLife) arrivals() []timed {
	type arrival struct {
		timed
		rank int
	}
	var all []arrival
	for i, push := range l.pushes {
		if i < 2 { // the binding comes first
			all = append(all, arrival{push, -1})
			continue
		}
		for range 1 + l.dice.IntN(5)/4 {
			all = append(all, arrival{push, i + l.dice.IntN(8)})
		}
	}
	slices.SortStableFunc(all, func(a, b arrival) int { return a.rank - b.rank })
	ordered := make([]timed, len(all))
	for i := range all {
		ordered[i] = all[i].timed
	}
	return ordered
}

// survive sends a push until it is answered, as a buyer would; now and then the
// process is killed meanwhile.
func (p *pusher) survive(dice *rand.Rand, one timed) {
	p.t.Helper()
	body, err := client.Body(p.scope, one.flag, one.at, one.payload)
	require.NoError(p.t, err)
	kill := dice.IntN(12) == 0
	killed := make(chan struct{})
	if kill {
		time.AfterFunc(time.Duration(dice.IntN(15))*time.Millisecond, func() {
			_ = p.c.child.Stop(syscall.SIGKILL)
			close(killed)
		})
	}
	for {
		sender, err := client.New(p.c.base+"/saasproduce", p.c.secret("kit-access-key"), client.Options{})
		require.NoError(p.t, err)
		answer, err := sender.Push(context.Background(), one.payload.PushKind(), body)
		if kill {
			<-killed
			p.c.run()
			kill = false
		}
		if err == nil {
			require.Equal(p.t, "000000", answer.Code, answer.Message)
			return
		}
	}
}
