package instance_test

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
	"github.com/stretchr/testify/require"

	"github.com/openkoo/connector/directory"
	"github.com/openkoo/connector/instance"
	"github.com/openkoo/connector/storage"
)

const webhookSecret = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="

// seller is the seller's own server: it checks every signature as a receiver
// of standardwebhooks.com does, and answers what it is told to.
type seller struct {
	t        *testing.T
	server   *httptest.Server
	verifier *standardwebhooks.Webhook

	mu     sync.Mutex
	status int
	body   string
	ids    []string
	types  []string
	last   map[string]any
	came   chan struct{} // one for each call
	hold   chan struct{} // calls wait for it; nil: they do not
}

func newSeller(t *testing.T, status int, body string) *seller {
	t.Helper()
	verifier, err := standardwebhooks.NewWebhook(webhookSecret)
	require.NoError(t, err)
	s := &seller{t: t, verifier: verifier, status: status, body: body, came: make(chan struct{}, 1000)}
	s.server = httptest.NewServer(s)
	t.Cleanup(s.server.Close)
	return s
}

func (s *seller) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	text, err := io.ReadAll(r.Body)
	s.mu.Lock()
	status, body, hold := s.status, s.body, s.hold
	if err == nil {
		err = s.verifier.VerifyIgnoringTimestamp(text, r.Header)
	}
	var message struct {
		Type string
		Data map[string]any
	}
	if err == nil {
		err = json.Unmarshal(text, &message)
	}
	if err != nil {
		s.t.Errorf("the call does not verify: %v", err)
	}
	s.ids, s.types, s.last = append(s.ids, r.Header.Get("webhook-id")), append(s.types, message.Type), message.Data
	s.mu.Unlock()
	s.came <- struct{}{}
	if hold != nil {
		select {
		case <-hold:
		case <-r.Context().Done():
		}
	}
	w.WriteHeader(status)
	_, _ = io.WriteString(w, body)
}

func (s *seller) answers(status int, body string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.status, s.body = status, body
}

func (s *seller) told() (types, ids []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string(nil), s.types...), append([]string(nil), s.ids...)
}

func (s *seller) provisioner(now func() time.Time) *instance.Webhook {
	s.t.Helper()
	w, err := instance.NewWebhook(instance.WebhookOptions{URL: s.server.URL + "/hook?token=s3cret", Secret: webhookSecret, HTTP: s.server.Client().Transport, Now: now})
	require.NoError(s.t, err)
	return w
}

// due tells the seller's server all that is due.
func (b *bundle) due() time.Duration {
	b.Helper()
	for {
		wait, err := b.service.DeliverDue(b.ctx)
		require.NoError(b, err)
		if wait > 0 {
			return wait
		}
	}
}

const ready = `{"appInfo": {"frontEndUrl": "https://app.example.com", "userName": "admin", "password": "pw-1"}}`

func TestWebhookProvisionsAtOnce(t *testing.T) {
	t.Parallel()
	s := newSeller(t, http.StatusOK, ready)
	b := newBundle(t, s.provisioner(nil))
	call := b.buy("o", "b-1")
	call.Details, call.Contact = map[string]string{"skuCode": "basic"}, map[string]string{"email": "a@example.com"}
	answer := b.serve(call)
	require.False(t, answer.Processing)
	require.Equal(t, &directory.OpenAppInfo{FrontEndURL: "https://app.example.com", UserName: "admin", Password: "pw-1"}, answer.App)
	require.Equal(t, "b-1", s.last["instanceId"])
	require.Equal(t, map[string]any{"skuCode": "basic"}, s.last["details"])
	require.Equal(t, map[string]any{"email": "a@example.com"}, s.last["contact"])
	b.serve(b.buy("o", "b-2"))
	types, _ := s.told()
	require.Equal(t, []string{"instance.created"}, types, "a repeat of the order asks nobody")
}

func TestWebhookThatGoesOnIsCompletedLater(t *testing.T) {
	t.Parallel()
	s := newSeller(t, http.StatusAccepted, "")
	b := newBundle(t, s.provisioner(nil))
	require.True(t, b.serve(b.buy("o", "b-1")).Processing)
	require.True(t, b.serve(b.call(directory.QueryInstance)).Processing)
	b.clock.advance(24 * time.Hour)
	b.due()
	types, _ := s.told()
	require.Len(t, types, 1, "who has taken the event is not asked again")
	_, err := b.service.Complete(b.ctx, directory.Prod, "b-1", instance.Completion{App: &instance.App{FrontEndURL: "https://a"}})
	require.NoError(t, err)
	require.False(t, b.serve(b.call(directory.QueryInstance)).Processing)
}

func TestWebhookIsRetriedDurably(t *testing.T) {
	t.Parallel()
	s := newSeller(t, http.StatusInternalServerError, "stack trace")
	b := newBundle(t, s.provisioner(nil))
	require.True(t, b.serve(b.buy("o", "b-1")).Processing)
	stored := b.stored("b-1")
	require.Equal(t, 1, stored.Attempts)
	require.Contains(t, stored.LastError, "HTTP 500")
	require.NotContains(t, stored.LastError, "stack trace")
	for attempt := 2; attempt <= 6; attempt++ {
		require.LessOrEqual(t, b.due(), time.Hour)
		before, _ := s.told()
		require.Len(t, before, attempt-1, "not before its time")
		b.clock.advance(time.Hour)
		b.due()
	}
	b.restart(s.provisioner(nil)) // what waits is on disk
	s.answers(http.StatusOK, ready)
	b.clock.advance(time.Hour)
	b.due()
	answer := b.serve(b.call(directory.QueryInstance))
	require.False(t, answer.Processing)
	require.Equal(t, "pw-1", answer.Info[0].App.Password)
	stored = b.stored("b-1")
	require.Zero(t, stored.Attempts)
	require.Empty(t, stored.LastError)
	_, ids := s.told()
	for _, id := range ids {
		require.Equal(t, ids[0], id, "the server knows a repeat by its id")
	}
}

// Who has mended the server need not wait for the next attempt's time.
func TestRetryTellsNow(t *testing.T) {
	t.Parallel()
	s := newSeller(t, http.StatusBadGateway, "")
	b := newBundle(t, s.provisioner(nil))
	b.serve(b.buy("o", "b-1"))
	for range 12 {
		b.clock.advance(time.Hour)
		b.due()
	}
	s.answers(http.StatusOK, ready)
	before, _ := s.told()
	b.due()
	waiting, _ := s.told()
	require.Equal(t, before, waiting, "not before its time")
	_, err := b.service.Retry(b.ctx, directory.Prod, "b-1")
	require.NoError(t, err)
	b.due()
	require.False(t, b.serve(b.call(directory.QueryInstance)).Processing)
	version := b.stored("b-1").Version
	_, err = b.service.Retry(b.ctx, directory.Prod, "b-1")
	require.NoError(t, err)
	require.Equal(t, version, b.stored("b-1").Version, "nothing waits")
	_, err = b.service.Retry(b.ctx, directory.Prod, "nobody")
	require.ErrorIs(t, err, storage.ErrNotFound)
}

func TestWebhookWithoutResourceAnswersSoUntilThereIsOne(t *testing.T) {
	t.Parallel()
	s := newSeller(t, http.StatusConflict, "")
	b := newBundle(t, s.provisioner(nil))
	require.True(t, b.serve(b.buy("o", "b-1")).NoResource)
	repeat := b.serve(b.buy("o", "b-2"))
	require.True(t, repeat.NoResource)
	require.Equal(t, "b-1", repeat.InstanceID)
	s.answers(http.StatusOK, ready)
	b.clock.advance(time.Hour)
	b.due()
	repeat = b.serve(b.buy("o", "b-3"))
	require.False(t, repeat.NoResource || repeat.Processing)
}

func TestWebhookIsToldEverythingInOrder(t *testing.T) {
	t.Parallel()
	s := newSeller(t, http.StatusInternalServerError, "")
	b := newBundle(t, s.provisioner(nil))
	b.serve(b.buy("o", "b-1"))
	freeze, resume := b.call(directory.UpdateInstanceStatus), b.call(directory.UpdateInstanceStatus)
	freeze.Freeze = true
	upgrade := b.call(directory.UpgradeInstance)
	upgrade.OrderID = "u"
	for _, call := range []*directory.InstanceCall{freeze, resume, upgrade, upgrade} {
		b.serve(call)
	}
	b.due()
	s.answers(http.StatusNoContent, "")
	b.clock.advance(time.Hour)
	b.due()
	types, _ := s.told()
	require.Equal(t, []string{"instance.created", "instance.created", "instance.frozen", "instance.resumed", "instance.upgraded"}, types)
	b.serve(b.call(directory.ReleaseInstance))
	b.due()
	types, _ = s.told()
	require.Equal(t, "instance.released", types[len(types)-1])
	require.NotContains(t, s.last, "contact", "personal data goes out with the purchase alone")
}

func TestWebhookLicenses(t *testing.T) {
	t.Parallel()
	s := newSeller(t, http.StatusOK, ready)
	b := newBundle(t, s.provisioner(nil))
	b.serve(b.buy("o", "b-1"))
	s.answers(http.StatusOK, `{"license": "L-1"}`)
	ask := b.call(directory.GetLicense)
	ask.LicenseEvent = "ev-1"
	require.Equal(t, "L-1", b.serve(ask).License)
	s.answers(http.StatusOK, `{"license": "L-2"}`)
	require.Equal(t, "L-1", b.serve(ask).License, "the same event gets the same License")
	s.answers(http.StatusAccepted, "")
	later := b.call(directory.GetLicense)
	later.LicenseEvent = "ev-2"
	require.True(t, b.serve(later).Processing)
	_, err := b.service.Complete(b.ctx, directory.Prod, "b-1", instance.Completion{EventID: "ev-2", License: "L-3"})
	require.NoError(t, err)
	require.Equal(t, "L-3", b.serve(later).License)
}

// A License that is said to be there, and is not, would never come.
func TestWebhookThatForgetsTheLicenseIsAskedAgain(t *testing.T) {
	t.Parallel()
	s := newSeller(t, http.StatusOK, ready)
	b := newBundle(t, s.provisioner(nil))
	b.serve(b.buy("o", "b-1"))
	ask := b.call(directory.GetLicense)
	ask.LicenseEvent = "ev-1"
	require.True(t, b.serve(ask).Processing)
	require.Contains(t, b.stored("b-1").LastError, "no license")
	s.answers(http.StatusOK, `{"license": "L-1"}`)
	b.clock.advance(time.Hour)
	b.due()
	require.Equal(t, "L-1", b.serve(ask).License)
}

// While one call waits for the seller's server, repeats are answered at once,
// and nobody asks it twice.
func TestRepeatsDoNotWaitForTheFirst(t *testing.T) {
	t.Parallel()
	s := newSeller(t, http.StatusOK, ready)
	s.hold = make(chan struct{})
	b := newBundle(t, s.provisioner(nil))
	first := make(chan directory.InstanceAnswer)
	call := b.buy("o", "b-1")
	go func() {
		answer, _ := b.service.Serve(b.ctx, call)
		first <- answer
	}()
	<-s.came
	repeat := b.serve(b.buy("o", "b-2"))
	require.True(t, repeat.Processing)
	require.Equal(t, "b-1", repeat.InstanceID)
	b.due()
	close(s.hold)
	require.False(t, (<-first).Processing)
	types, _ := s.told()
	require.Len(t, types, 1)
}

func TestWebhookRepliesThatAreRefused(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		status int
		body   string
		want   string
	}{
		"not JSON":            {http.StatusOK, "<html>", "not the JSON we know"},
		"no address":          {http.StatusOK, `{"appInfo": {"adminUrl": "https://a"}}`, "appInfo.frontEndUrl: missing"},
		"an overlong address": {http.StatusOK, `{"appInfo": {"frontEndUrl": "` + strings.Repeat("x", 513) + `"}}`, "longer than 512"},
		"too large":           {http.StatusOK, strings.Repeat(" ", 300<<10), "larger than"},
		"a redirect":          {http.StatusFound, "", "HTTP 302"},
		"unauthorized":        {http.StatusUnauthorized, "", "HTTP 401"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSeller(t, test.status, test.body)
			b := newBundle(t, s.provisioner(nil))
			require.True(t, b.serve(b.buy("o", "b-1")).Processing)
			require.Contains(t, b.stored("b-1").LastError, test.want)
			require.NotContains(t, b.stored("b-1").LastError, "s3cret")
		})
	}
}

func TestWebhookThatDoesNotAnswerIsNotWaitedForLong(t *testing.T) {
	t.Parallel()
	s := newSeller(t, http.StatusOK, ready)
	b := newBundle(t, s.provisioner(nil))
	s.server.Close()
	require.True(t, b.serve(b.buy("o", "b-1")).Processing)
	require.NotContains(t, b.stored("b-1").LastError, "s3cret", "the address may hold a secret")
	require.NotEmpty(t, b.stored("b-1").LastError)
}

// Run wakes up for what a call has left behind, and ends with its context.
func TestRunDelivers(t *testing.T) {
	t.Parallel()
	s := newSeller(t, http.StatusOK, ready)
	b := newBundle(t, s.provisioner(nil))
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- b.service.Run(ctx) }()
	b.serve(b.buy("o", "b-1"))
	<-s.came
	freeze := b.call(directory.UpdateInstanceStatus)
	freeze.Freeze = true
	b.serve(freeze)
	<-s.came
	types, _ := s.told()
	require.Equal(t, []string{"instance.created", "instance.frozen"}, types)
	cancel()
	require.NoError(t, <-ended)
}

func TestNewWebhookRefusesWeakSettings(t *testing.T) {
	t.Parallel()
	for want, options := range map[string]instance.WebhookOptions{
		"instances.webhookUrl":    {URL: "seller.example.com", Secret: webhookSecret},
		"instances.webhookSecret": {URL: "https://seller.example.com", Secret: "whsec_c2hvcnQ="},
	} {
		_, err := instance.NewWebhook(options)
		require.ErrorContains(t, err, want)
	}
	_, err := instance.NewWebhook(instance.WebhookOptions{URL: "https://seller.example.com", Secret: "whsec_" + strings.Repeat("!", 40)})
	require.ErrorContains(t, err, "webhookSecret")
	require.NotContains(t, err.Error(), "!!!!")
}
