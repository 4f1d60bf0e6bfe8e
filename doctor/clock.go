package doctor

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/openkoo/connector/target/egress"
)

// smallSkew is how far apart clocks may be; bigSkew is what leaves too little
// of the 60 s that the marketplace's calls are given (spec/marketplace.md §1.2).
const (
	smallSkew = 5 * time.Second
	bigSkew   = 30 * time.Second
)

const setClocks = "Have NTP set the clocks (`timedatectl`, `chronyc tracking`)."

// Host is a server whose clock is compared with ours.
type Host struct {
	Name  string // as findings call it
	Route egress.Route
}

// CheckClock compares this machine's clock with those of other hosts, by the
// header Date of what they answer to HEAD. now is time.Now, if nil.
func CheckClock(hosts []Host, now func() time.Time) Check {
	if now == nil {
		now = time.Now
	}
	return Check{Name: "clock", Run: func(ctx context.Context, notes *Notes) {
		judgeClocks(askHosts(ctx, hosts, now), notes)
	}}
}

// offset is how far a host's clock is ahead of ours.
type offset struct {
	host  string
	ahead time.Duration
}

// askHosts asks all hosts at once; those that do not tell are left out.
func askHosts(ctx context.Context, hosts []Host, now func() time.Time) []offset {
	told := make([]*offset, len(hosts))
	var asking sync.WaitGroup
	for i, host := range hosts {
		asking.Go(func() {
			if ahead, err := askTime(ctx, host.Route, now); err == nil {
				told[i] = &offset{host.Name, ahead}
			}
		})
	}
	asking.Wait()
	var offsets []offset
	for _, o := range told {
		if o != nil {
			offsets = append(offsets, *o)
		}
	}
	return offsets
}

// askTime reads a host's clock. No header tells more than the second.
func askTime(ctx context.Context, route egress.Route, now func() time.Time) (ahead time.Duration, err error) {
	client, err := newClient(route.CAFile, egress.Dialer(route.AllowPrivate).DialContext, nil)
	if err != nil {
		return 0, err
	}
	defer client.CloseIdleConnections()
	request, err := http.NewRequestWithContext(ctx, http.MethodHead, route.URL, nil)
	if err != nil {
		return 0, errors.New("the url cannot be read")
	}
	asked := now()
	response, err := client.Do(request)
	if err != nil {
		return 0, err
	}
	answered := now()
	_ = response.Body.Close()
	date, err := http.ParseTime(response.Header.Get("Date"))
	if err != nil {
		return 0, fmt.Errorf("header Date: %w", err)
	}
	// The host looked at its clock somewhere in between, and told whole seconds.
	earliest, latest := date.Sub(answered), date.Add(time.Second).Sub(asked)
	if earliest <= 0 && latest >= 0 {
		return 0, nil
	}
	return (earliest + latest) / 2, nil
}

// judgeClocks finds out whose clock is off: ours, if most agree on that.
func judgeClocks(offsets []offset, notes *Notes) {
	if len(offsets) == 0 {
		notes.OKf("no target and no public address tells the time; nothing to compare with")
		return
	}
	sorted := slices.Clone(offsets)
	slices.SortFunc(sorted, func(a, b offset) int { return int(a.ahead - b.ahead) })
	median := sorted[len(sorted)/2].ahead
	if len(sorted)%2 == 0 && sorted[len(sorted)/2-1].ahead.Abs() < median.Abs() {
		median = sorted[len(sorted)/2-1].ahead // of two words the kinder one
	}
	var hosts []string
	for _, o := range offsets {
		if (o.ahead - median).Abs() > smallSkew {
			notes.Warnf(setClocks, "the clock of %s is %s than this machine's", o.host, direction(o.ahead))
		} else {
			hosts = append(hosts, o.host)
		}
	}
	note := notes.Warnf
	if median.Abs() > bigSkew {
		note = notes.Problemf
	}
	if median.Abs() > smallSkew {
		note(setClocks+" A call whose timestamp is more than 60 s off is refused, whoever's clock is wrong.",
			"%s %s than this machine's clock: one of them is wrong", verb(hosts), direction(median))
		return
	}
	if !notes.unwell() {
		notes.OKf("agrees with %s", strings.Join(hosts, ", "))
	}
}

func verb(hosts []string) string {
	if len(hosts) == 1 {
		return "the clock of " + hosts[0] + " is"
	}
	return "the clocks of " + strings.Join(hosts, ", ") + " are"
}

func direction(ahead time.Duration) string {
	if ahead < 0 {
		return rough(-ahead) + " earlier"
	}
	return rough(ahead) + " later"
}

// rough is a difference of clocks as exactly as it is known.
func rough(d time.Duration) string {
	if d > time.Minute {
		return d.Round(10 * time.Second).String()
	}
	return d.Round(time.Second).String()
}
