package fanout

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/openkoo/connector/directory"
	"github.com/openkoo/connector/target/scim"
	"github.com/openkoo/connector/target/scim/scimserver"
)

const (
	benchDepartments = 200
	benchUsers       = 4000
)

// BenchmarkDeliveries delivers a new enterprise into a SCIM server in process.
// xfloor is its rate over that of a bare loop of as many clients that post the
// same accounts to the same kind of server.
func BenchmarkDeliveries(b *testing.B) {
	for range b.N {
		floor := bareLoop(b)
		server, url := benchServer(b)
		connector, err := scim.New(scim.Config{URL: url, BearerToken: "token"})
		require.NoError(b, err)
		bundle := newBundle(b, Target{Name: "t", Connector: connector})
		bundle.fill()
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
		began := time.Now()
		go func() { ended <- f.Run(ctx) }()
		<-rested
		took := time.Since(began)
		cancel()
		require.NoError(b, <-ended)
		require.NoError(b, connector.Close())
		groups, users := server.Counts()
		require.Equal(b, benchDepartments, groups)
		require.Equal(b, benchUsers, users)
		sent := 0
		for _, n := range server.Requests() {
			sent += n
		}
		rate := float64(sent) / took.Seconds()
		b.ReportMetric(rate, "deliveries/s")
		b.ReportMetric(rate/floor, "xfloor")
	}
}

func benchServer(b *testing.B) (*scimserver.Server, string) {
	b.Helper()
	server, err := scimserver.New(scimserver.Options{Token: "token"})
	require.NoError(b, err)
	listening := httptest.NewServer(server)
	b.Cleanup(listening.Close)
	return server, listening.URL
}

func (b *bundle) fill() {
	b.Helper()
	full := &directory.FullPush{}
	for i := range benchDepartments {
		d := directory.DepartmentItem{Code: fmt.Sprintf("d%04d", i), Name: fmt.Sprintf("部门%d", i)}
		if i > 0 {
			d.ParentCode = fmt.Sprintf("d%04d", (i-1)/8)
		}
		full.Departments = append(full.Departments, d)
	}
	b.push(acme, directory.FlagModify, full)
	for from := 0; from < benchUsers; from += directory.MaxUsers {
		push := &directory.AuthPush{AppID: "app"}
		for i := from; i < min(from+directory.MaxUsers, benchUsers); i++ {
			push.Users = append(push.Users, directory.UserItem{
				UserName: fmt.Sprintf("user%05d", i), Name: fmt.Sprintf("员工%d", i), OrgCode: fmt.Sprintf("d%04d", i%benchDepartments), Enabled: true,
			})
		}
		b.push(acme, directory.FlagAdd, push)
	}
}

// bareLoop is how many accounts a second clients post that do nothing else.
func bareLoop(b *testing.B) float64 {
	b.Helper()
	_, url := benchServer(b)
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.MaxIdleConnsPerHost = 64
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport}
	jobs := make(chan int)
	var clients sync.WaitGroup
	began := time.Now()
	for range 8 {
		clients.Go(func() {
			for i := range jobs {
				body, _ := json.Marshal(map[string]any{
					"schemas": []string{"urn:ietf:params:scim:schemas:core:2.0:User"}, "userName": fmt.Sprintf("user%05d@acme", i),
					"externalId": acme.ExternalID(fmt.Sprintf("user%05d", i)), "displayName": fmt.Sprintf("员工%d", i), "active": true,
					"name": map[string]any{"formatted": fmt.Sprintf("员工%d", i)},
				})
				request, err := http.NewRequestWithContext(b.Context(), http.MethodPost, url+"/Users", bytes.NewReader(body))
				if err != nil {
					b.Error(err)
					return
				}
				request.Header.Set("Authorization", "Bearer token")
				request.Header.Set("Content-Type", "application/scim+json")
				response, err := client.Do(request)
				if err != nil {
					b.Error(err)
					return
				}
				_, _ = io.Copy(io.Discard, response.Body)
				_ = response.Body.Close()
			}
		})
	}
	for i := range benchUsers {
		jobs <- i
	}
	close(jobs)
	clients.Wait()
	return benchUsers / time.Since(began).Seconds()
}
