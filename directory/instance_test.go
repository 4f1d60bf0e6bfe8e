package directory

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

var instanceNow = time.Date(2026, 5, 6, 7, 8, 9, 0, time.UTC)

func newCall(activity Activity) *InstanceCall {
	return &InstanceCall{EventID: "e", Activity: activity, Dataset: Prod, InstanceIDs: []string{"i-1"}, SourceTime: 10}
}

// bought is an instance that is provisioned and told.
func bought() Instance {
	i := PlanNewInstance(&InstanceCall{EventID: "e0", Activity: NewInstance, Dataset: Prod, OrderID: "o", OrderLineID: "l", BusinessID: "i-1"}, instanceNow)
	i.Provisioned = true
	i.Told(i.Pending[0].ID, instanceNow)
	return i
}

// plan applies a call and returns the events it made.
func planCall(t require.TestingT, i *Instance, call *InstanceCall, repeat bool) []EventType {
	before := len(i.Pending)
	_, err := PlanInstance(i, call, repeat, instanceNow)
	require.NoError(t, err)
	var events []EventType
	for _, e := range i.Pending[min(before, len(i.Pending)):] {
		events = append(events, e.Type)
	}
	return events
}

func TestNewInstanceIsNamedByItsBusiness(t *testing.T) {
	t.Parallel()
	i := PlanNewInstance(&InstanceCall{EventID: "e", Dataset: Test, OrderID: "o", BusinessID: "b", Details: map[string]string{"skuCode": "s"}}, instanceNow)
	require.Equal(t, "b", i.ID)
	require.Equal(t, Test, i.Dataset)
	require.Equal(t, InstanceProvisioning, i.State(instanceNow))
	require.Len(t, i.Pending, 1)
	require.Equal(t, EventCreated, i.Pending[0].Type)
	require.Equal(t, instanceNow, i.DueAt)
}

func TestOrderKeys(t *testing.T) {
	t.Parallel()
	keys := func(order, line, product string) []string {
		return (&InstanceCall{OrderID: order, OrderLineID: line, ProductID: product}).OrderKeys()
	}
	require.Equal(t, []string{"new/line/o/l"}, keys("o", "l", ""))
	require.Equal(t, []string{"new/line/o/l", "new/product/o/p"}, keys("o", "l", "p"), "on-demand goods")
	require.Equal(t, []string{"new/product/o/"}, keys("o", "", ""), "V1 has no order line")
	require.NotEqual(t, keys("a/b", "c", ""), keys("a", "b/c", ""), "no two orders share a key")

	renew := newCall(RefreshInstance)
	require.Empty(t, renew.OrderKey(), "a call without an order is no order")
	renew.OrderID, renew.Scene = "o", "RENEWAL"
	cancel := *renew
	cancel.Scene = "UNSUBSCRIBE_RENEWAL_PERIOD"
	require.NotEqual(t, renew.OrderKey(), cancel.OrderKey(), "cancelling a renewal may name the renewal's order")
	release := newCall(ReleaseInstance)
	release.OrderID = "o"
	require.Empty(t, release.OrderKey(), "releasing is once and for all without an order")
}

func TestStateIsTheFirstThatHolds(t *testing.T) {
	t.Parallel()
	i := bought()
	require.Equal(t, InstanceActive, i.State(instanceNow))
	i.ExpireTime = instanceNow
	require.Equal(t, InstanceExpired, i.State(instanceNow), "the moment of expiry is past the end")
	require.Equal(t, InstanceActive, i.State(instanceNow.Add(-time.Millisecond)))
	i.Frozen = true
	require.Equal(t, InstanceFrozen, i.State(instanceNow))
	i.Provisioned = false
	require.Equal(t, InstanceProvisioning, i.State(instanceNow))
	i.Released = true
	require.Equal(t, InstanceReleased, i.State(instanceNow))
}

func TestFreezeAndResumeAreToldOnceAndInOrder(t *testing.T) {
	t.Parallel()
	i := bought()
	freeze, resume := newCall(UpdateInstanceStatus), newCall(UpdateInstanceStatus)
	freeze.Freeze, resume.SourceTime = true, 20
	require.Equal(t, []EventType{EventFrozen}, planCall(t, &i, freeze, false))
	require.Empty(t, planCall(t, &i, freeze, false), "a repeat")
	require.Equal(t, []EventType{EventResumed}, planCall(t, &i, resume, false))
	require.Empty(t, planCall(t, &i, freeze, false), "a freeze from before the resume comes late")
	require.False(t, i.Frozen)
}

// The targets are to be told of each change of the standing, and of nothing else.
func TestEachStandingIsToBeSpreadOnce(t *testing.T) {
	t.Parallel()
	i := bought()
	i.Dataset = Test
	require.True(t, i.NextDue().IsZero())
	status := func(at SourceTime, freeze bool) *InstanceCall {
		call := newCall(UpdateInstanceStatus)
		call.SourceTime, call.Freeze = at, freeze
		return call
	}
	for n, step := range []struct {
		call      *InstanceCall
		standing  Standing
		standings int64
	}{
		{newCall(UpgradeInstance), GoodStanding, 0},
		{status(20, true), StandingFrozen, 1},
		{status(30, true), StandingFrozen, 1},
		{status(25, false), StandingFrozen, 1},
		{status(40, false), GoodStanding, 2},
		{newCall(ReleaseInstance), StandingReleased, 3},
		{status(50, true), StandingReleased, 3},
		{newCall(NewInstance), GoodStanding, 4},
	} {
		planCall(t, &i, step.call, false)
		require.Equal(t, step.standing, i.Standing(), n)
		require.Equal(t, step.standings, i.Standings, n)
		require.Equal(t, step.standings > 0, i.SpreadAt.Equal(instanceNow), n)
	}
	i.DueAt = instanceNow.Add(time.Hour)
	require.Equal(t, instanceNow, i.NextDue())
	require.False(t, i.Spread(3), "there is a newer one")
	require.True(t, i.Spread(4))
	require.Equal(t, instanceNow.Add(time.Hour), i.NextDue())
	i.SpreadAt = instanceNow.Add(2 * time.Hour)
	require.Equal(t, instanceNow.Add(time.Hour), i.NextDue())
}

func TestRefreshSetsTheExpiry(t *testing.T) {
	t.Parallel()
	i := bought()
	call := newCall(RefreshInstance)
	call.ExpireTime, call.OrderID = instanceNow.Add(time.Hour), "o2"
	require.Equal(t, []EventType{EventRenewed}, planCall(t, &i, call, false))
	require.Equal(t, instanceNow.Add(time.Hour), i.ExpireTime)
	late := newCall(RefreshInstance)
	late.ExpireTime, late.SourceTime = instanceNow, 9
	require.Empty(t, planCall(t, &i, late, false), "older than what is stored")
	require.Empty(t, planCall(t, &i, call, true), "its order was applied before")
	require.Equal(t, instanceNow.Add(time.Hour), i.ExpireTime)
}

func TestRefreshByPeriodAddsToWhatIsLeft(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		until time.Time
		want  time.Time
	}{
		"some is left":    {instanceNow.AddDate(0, 0, 3), instanceNow.AddDate(1, 2, 6)},
		"nothing is left": {instanceNow.AddDate(0, 0, -3), instanceNow.AddDate(1, 2, 3)},
		"no end":          {time.Time{}, instanceNow.AddDate(1, 2, 3)},
	} {
		i := bought()
		i.ExpireTime = test.until
		call := newCall(RefreshInstance)
		call.Years, call.Months, call.Days, call.OrderID = 1, 2, 3, "o2"
		planCall(t, &i, call, false)
		require.Equal(t, test.want, i.ExpireTime, name)
	}
}

// Two periods are added in whichever order they come; the end that a newer call
// set by date stays.
func TestAPeriodThatComesLateIsAddedAllTheSame(t *testing.T) {
	t.Parallel()
	i := bought()
	i.ExpireTime = instanceNow.AddDate(0, 1, 0)
	newer, older := newCall(RefreshInstance), newCall(RefreshInstance)
	newer.Months, newer.OrderID = 1, "o2"
	older.Months, older.OrderID, older.SourceTime = 1, "o3", newer.SourceTime-1
	planCall(t, &i, newer, false)
	require.Equal(t, []EventType{EventRenewed}, planCall(t, &i, older, false))
	require.Equal(t, instanceNow.AddDate(0, 3, 0), i.ExpireTime)
	require.Equal(t, newer.SourceTime, i.ExpiryTime)
	require.Empty(t, planCall(t, &i, older, true), "its order was applied before")
}

func TestExpireEndsNow(t *testing.T) {
	t.Parallel()
	i := bought()
	i.ExpireTime = instanceNow.Add(time.Hour)
	require.Equal(t, []EventType{EventExpired}, planCall(t, &i, newCall(ExpireInstance), false))
	require.Equal(t, InstanceExpired, i.State(instanceNow))
	require.Empty(t, planCall(t, &i, newCall(ExpireInstance), false), "a repeat")
	late := newCall(ExpireInstance)
	late.SourceTime = 5
	i.ExpireTime = instanceNow.Add(time.Hour)
	require.Empty(t, planCall(t, &i, late, false), "a renewal came after it")
	require.Equal(t, InstanceActive, i.State(instanceNow))
}

func TestReleaseIsForEver(t *testing.T) {
	t.Parallel()
	i := bought()
	planCall(t, &i, newCall(UpgradeInstance), false)
	planCall(t, &i, newCall(ReleaseInstance), false)
	require.True(t, i.Released)
	require.Len(t, i.Pending, 1, "what was waiting no longer matters")
	require.Equal(t, EventReleased, i.Pending[0].Type)
	changed, err := PlanInstance(&i, newCall(ReleaseInstance), false, instanceNow)
	require.NoError(t, err)
	require.False(t, changed, "a repeat succeeds")
	for _, activity := range []Activity{NewInstance, RefreshInstance, ExpireInstance, UpdateInstanceStatus, UpgradeInstance, GetLicense} {
		_, err := PlanInstance(&i, newCall(activity), false, instanceNow)
		require.ErrorIs(t, err, ErrUnknownInstance, activity)
	}
}

// The marketplace replays the debugging calls that succeeded, in any order.
func TestReleasedDebuggingInstanceStillAnswers(t *testing.T) {
	t.Parallel()
	i := bought()
	i.Dataset = Test
	planCall(t, &i, newCall(ReleaseInstance), false)
	freeze := newCall(UpdateInstanceStatus)
	freeze.Freeze = true
	planCall(t, &i, freeze, false)
	require.Equal(t, []EventType{EventCreated}, planCall(t, &i, newCall(NewInstance), false))
	require.False(t, i.Released || i.Frozen, "bought anew")
	require.Equal(t, InstanceActive, i.State(instanceNow))
}

func TestUpgradeIsToldOnceForEachOrder(t *testing.T) {
	t.Parallel()
	i := bought()
	call := newCall(UpgradeInstance)
	call.OrderID, call.Details = "o2", map[string]string{"amount": "3"}
	require.Equal(t, []EventType{EventUpgraded}, planCall(t, &i, call, false))
	require.Equal(t, map[string]string{"orderId": "o2", "amount": "3"}, i.Pending[0].Members)
	require.Empty(t, planCall(t, &i, call, true))
}

func TestLicenseIsAskedForOnceForEachEvent(t *testing.T) {
	t.Parallel()
	i := bought()
	call := newCall(GetLicense)
	call.LicenseEvent, call.License = "ev", License{EffectiveTime: "t1", DeviceFingerprint: "f"}
	require.Equal(t, []EventType{EventLicense}, planCall(t, &i, call, false))
	require.Equal(t, "f", i.Pending[0].Members["deviceFingerprint"])
	call.License.EffectiveTime = "t2"
	require.Empty(t, planCall(t, &i, call, false))
	require.Equal(t, "t1", i.Licenses["ev"].EffectiveTime)
	for n := range maxLicenses {
		i.Licenses[fmt.Sprint(n)] = License{}
	}
	call.LicenseEvent = "one more"
	_, err := PlanInstance(&i, call, false, instanceNow)
	require.ErrorContains(t, err, "eventId")
}

func TestToldMovesOn(t *testing.T) {
	t.Parallel()
	i := bought()
	planCall(t, &i, newCall(UpgradeInstance), false)
	freeze := newCall(UpdateInstanceStatus)
	freeze.Freeze, freeze.EventID = true, "e2"
	i.Attempts, i.LastError, i.DueAt = 3, "no", instanceNow.Add(time.Hour)
	planCall(t, &i, freeze, false)
	require.Equal(t, instanceNow.Add(time.Hour), i.DueAt, "a new event does not hurry the one before it")
	require.False(t, i.Told("nobody", instanceNow))
	require.True(t, i.Told(i.Pending[0].ID, instanceNow))
	require.Zero(t, i.Attempts)
	require.Equal(t, instanceNow, i.DueAt)
	require.True(t, i.Told(i.Pending[0].ID, instanceNow))
	require.True(t, i.DueAt.IsZero(), "nothing waits")
}

// Freezes and renewals end in the state of the newest call, whatever order
// they arrive in and however often each is repeated.
func TestNewestCallWins(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 6).Draw(t, "calls")
		calls := make([]*InstanceCall, n)
		for k := range calls {
			calls[k] = newCall(UpdateInstanceStatus)
			calls[k].SourceTime = SourceTime(k + 1)
			calls[k].Freeze = rapid.Bool().Draw(t, "freeze")
			if rapid.Bool().Draw(t, "refresh") {
				calls[k].Activity = RefreshInstance
				calls[k].ExpireTime = instanceNow.Add(time.Duration(rapid.IntRange(-5, 5).Draw(t, "hours")) * time.Hour)
			}
		}
		inOrder, shuffled := bought(), bought()
		for _, call := range calls {
			planCall(t, &inOrder, call, false)
		}
		order := rapid.Permutation(calls).Draw(t, "order")
		for _, call := range append(order, rapid.SliceOf(rapid.SampledFrom(calls)).Draw(t, "repeats")...) {
			planCall(t, &shuffled, call, false)
		}
		require.Equal(t, inOrder.Frozen, shuffled.Frozen)
		require.Equal(t, inOrder.ExpireTime, shuffled.ExpireTime)
		require.Equal(t, inOrder.State(instanceNow), shuffled.State(instanceNow))
	})
}
