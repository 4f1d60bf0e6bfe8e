package fanout

import (
	"context"
	"fmt"
	"log/slog"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/openkoo/connector/directory"
	"github.com/openkoo/connector/target/scim"
	"github.com/openkoo/connector/target/scim/scimserver"
)

// Of the enterprises that the benchmark delivers, all tenants together.
const (
	benchDepartments = 200
	benchUsers       = 4000
	benchClients     = 8
)

// BenchmarkDeliveries delivers new enterprises into a SCIM server in process.
// xfloor is its rate over that of a bare loop of as many clients, which sends
// the same requests to the same kind of server and reads the ids it answers;
// xcpu is the loop's processor time over its own.
func BenchmarkDeliveries(b *testing.B) {
	for _, tenants := range []int{1, 8} {
		b.Run(fmt.Sprintf("%dtenants", tenants), func(b *testing.B) {
			var ours, floor pace
			for b.Loop() {
				floor.add(bareLoop(b, tenants))
				ours.add(deliverAll(b, tenants))
			}
			b.ReportMetric(ours.rate/float64(b.N), "deliveries/s")
			b.ReportMetric(ours.rate/floor.rate, "xfloor")
			if ours.processor > 0 {
				b.ReportMetric(float64(ours.processor/time.Microsecond)/float64(b.N), "cpu-µs/delivery")
				b.ReportMetric(float64(floor.processor)/float64(ours.processor), "xcpu")
			}
		})
	}
}

// pace is how fast requests were sent.
type pace struct {
	rate      float64       // requests a second
	processor time.Duration // for each request, of client, server and store together
}

func (p *pace) add(more pace) {
	p.rate += more.rate
	p.processor += more.processor
}

// since is the pace at which a server was sent what it was since then.
func since(began time.Time, used time.Duration, server *scimserver.Server) pace {
	n := sent(server)
	return pace{n / time.Since(began).Seconds(), (processorTime() - used) / time.Duration(n)}
}

// benchScope is a tenant's.
func benchScope(n int) directory.Scope {
	return directory.Scope{Dataset: directory.Prod, InstanceID: "i/1", TenantID: fmt.Sprintf("t%d", n)}
}

// deliverAll is the pace at which the fan-out delivers everything.
func deliverAll(b *testing.B, tenants int) pace {
	b.Helper()
	server, url := benchServer(b)
	connector, err := scim.New(scim.Config{URL: url, BearerToken: "token"})
	require.NoError(b, err)
	bundle := newBundle(b, Target{Name: "t", Connector: connector, Concurrency: benchClients})
	for n := range tenants {
		bundle.fill(benchScope(n), benchDepartments/tenants, benchUsers/tenants)
	}
	rested := make(chan struct{}, 1)
	f, err := New(bundle.store, bundle.targets, Options{
		Logger: slog.New(slog.DiscardHandler), Now: time.Now,
		resting: func(_ string, p pause) {
			if p.rounds == 0 && p.changed == bundle.store.Changed() {
				select {
				case rested <- struct{}{}:
				default:
				}
			}
		},
	})
	require.NoError(b, err)
	ctx, cancel := context.WithCancel(b.Context())
	ended := make(chan error, 1)
	began, used := time.Now(), processorTime()
	go func() { ended <- f.Run(ctx) }()
	<-rested
	took := since(began, used, server)
	cancel()
	require.NoError(b, <-ended)
	require.NoError(b, connector.Close())
	groups, users := server.Counts()
	require.Equal(b, benchDepartments, groups)
	require.Equal(b, benchUsers, users)
	return took
}

func sent(server *scimserver.Server) (requests float64) {
	for _, n := range server.Requests() {
		requests += float64(n)
	}
	return requests
}

func benchServer(b *testing.B) (*scimserver.Server, string) {
	b.Helper()
	server, err := scimserver.New(scimserver.Options{Token: "token"})
	require.NoError(b, err)
	listening := httptest.NewServer(server)
	b.Cleanup(listening.Close)
	return server, listening.URL
}

// benchItem is a department of a tree of eight children each.
func benchItem(i int) directory.DepartmentItem {
	d := directory.DepartmentItem{Code: fmt.Sprintf("d%04d", i), Name: fmt.Sprintf("部门%d", i)}
	if i > 0 {
		d.ParentCode = fmt.Sprintf("d%04d", (i-1)/8)
	}
	return d
}

func (b *bundle) fill(scope directory.Scope, departments, users int) {
	b.Helper()
	full := &directory.FullPush{}
	for i := range departments {
		full.Departments = append(full.Departments, benchItem(i))
	}
	b.push(scope, directory.FlagModify, full)
	for from := 0; from < users; from += directory.MaxUsers {
		push := &directory.AuthPush{AppID: "app"}
		for i := from; i < min(from+directory.MaxUsers, users); i++ {
			push.Users = append(push.Users, directory.UserItem{
				UserName: fmt.Sprintf("user%05d", i), Name: fmt.Sprintf("员工%d", i), OrgCode: fmt.Sprintf("d%04d", i%departments), Enabled: true,
			})
		}
		b.push(scope, directory.FlagAdd, push)
	}
}
