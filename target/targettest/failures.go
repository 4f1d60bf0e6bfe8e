package targettest

import (
	"context"
	"crypto/tls"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"sync"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/openkoo/connector/target"
)

// expectation is how a connector is to class a failure.
type expectation struct {
	fault   func(*law) Fault
	class   target.Class
	unknown bool // the request may have been carried out
	// impatient: it only fails if it is not waited for.
	impatient bool
	// retryAfter is within what the target asked for, 0 for no word.
	atLeast, atMost time.Duration
}

func answers(status int, headers ...string) func(*law) Fault {
	return func(l *law) Fault {
		return Answer(status, `{"detail":"no, said with `+l.Secret+`","status":"`+strconv.Itoa(status)+`"}`, headers...)
	}
}

var expectations = map[string]expectation{
	"400":                        {fault: answers(400), class: target.Permanent},
	"401":                        {fault: answers(401), class: target.Down},
	"403":                        {fault: answers(403), class: target.Permanent},
	"408":                        {fault: answers(408), class: target.Transient, unknown: true},
	"412":                        {fault: answers(412), class: target.Transient},
	"413":                        {fault: answers(413), class: target.Permanent},
	"429":                        {fault: answers(429), class: target.RateLimited},
	"429 with seconds":           {fault: answers(429, "Retry-After", "7"), class: target.RateLimited, atLeast: 7 * time.Second, atMost: 7 * time.Second},
	"429 with a date":            {fault: inADay, class: target.RateLimited, atLeast: 23 * time.Hour, atMost: 24 * time.Hour},
	"429 with a past date":       {fault: answers(429, "Retry-After", "Mon, 02 Jan 2006 15:04:05 GMT"), class: target.RateLimited},
	"429 with nonsense":          {fault: answers(429, "Retry-After", "soon"), class: target.RateLimited},
	"429 for longer than counts": {fault: answers(429, "Retry-After", "9223372036854775807"), class: target.RateLimited, atLeast: time.Hour, atMost: 1000 * time.Hour},
	"500":                        {fault: answers(500), class: target.Transient, unknown: true},
	"502":                        {fault: answers(502), class: target.Transient, unknown: true},
	"503":                        {fault: answers(503), class: target.Transient, unknown: true},
	"503 with seconds":           {fault: answers(503, "Retry-After", "3"), class: target.RateLimited, atLeast: 3 * time.Second, atMost: 3 * time.Second},
	"a redirect":                 {fault: answers(302, "Location", "http://127.0.0.1:1/elsewhere"), class: target.Down},
	"a reset":                    {fault: func(*law) Fault { return Reset }, class: target.Transient, unknown: true},
	"a hang":                     {fault: func(l *law) Fault { return l.wire().Hang }, class: target.Transient, unknown: true, impatient: true},
	"an endless refusal":         {fault: endlessRefusal, class: target.Permanent},
}

// nowhere is where nobody listens. A port that was free a moment ago may be
// another test's.
const nowhere = "127.0.0.1:1"

func inADay(*law) Fault {
	return Answer(429, "", "Retry-After", time.Now().Add(24*time.Hour).UTC().Format(http.TimeFormat))
}

func endlessRefusal(l *law) Fault {
	return func(w http.ResponseWriter, r *http.Request, forward http.Handler) {
		w.WriteHeader(http.StatusBadRequest)
		l.wire().Endless(w, r, forward)
	}
}

// operations are every way to send something, on objects that are there.
func (l *law) operations() map[string]func(context.Context) error {
	group, ann := l.putDepartment(l.department("a")), l.putUser(l.user("ann"))
	all := map[string]func(context.Context) error{
		"create a department": func(ctx context.Context) error {
			_, err := l.connector.PutDepartment(ctx, l.department("new"))
			return err
		},
		"change a department": func(ctx context.Context) error {
			_, err := l.connector.PutDepartment(ctx, group)
			return err
		},
		"create an account": func(ctx context.Context) error {
			_, err := l.connector.PutUser(ctx, l.user("new"))
			return err
		},
		"change an account": func(ctx context.Context) error {
			_, err := l.connector.PutUser(ctx, ann)
			return err
		},
		"look for an account": func(ctx context.Context) error {
			u := l.user("lost")
			u.Uncertain = true
			_, err := l.connector.PutUser(ctx, u)
			return err
		},
		"delete an account":   func(ctx context.Context) error { return l.connector.DeleteUser(ctx, ann.Object) },
		"delete a department": func(ctx context.Context) error { return l.connector.DeleteDepartment(ctx, group.Object) },
	}
	if l.capabilities().Memberships {
		all["add a member"] = func(ctx context.Context) error {
			return l.connector.ChangeMembers(ctx, group.Object, target.MemberChange{Add: []target.Member{member(ann)}})
		}
		all["remove a member"] = func(ctx context.Context) error {
			return l.connector.ChangeMembers(ctx, group.Object, target.MemberChange{Remove: []target.Member{member(ann)}})
		}
	}
	return all
}

var failureLaws = map[string]func(*law){
	"a conflict on a change is a conflict": func(l *law) {
		ann, bob := l.putUser(l.user("ann")), l.putUser(l.user("bob"))
		bob.UserName = ann.UserName
		_, err := l.connector.PutUser(l.ctx, bob)
		l.fails(err, target.Conflict)
	},

	"garbage in place of what was created is not taken for it": func(l *law) {
		for _, body := range []string{"<html>sign in</html>", "", "[]", "{}", `{"id":[7]}`} {
			l.wire().Next(Answer(200, body, "Content-Type", "text/html"))
			_, err := l.connector.PutDepartment(l.ctx, l.department("a"))
			var e *target.Error
			require.ErrorAs(l, err, &e, "%q", body)
			require.True(l, e.UnknownOutcome, "%q", body)
		}
	},

	"a page in place of an answer is not taken for success": func(l *law) {
		d := l.putDepartment(l.department("a"))
		l.wire().Next(Answer(200, "<html>back soon</html>", "Content-Type", "text/html; charset=utf-8"))
		_, err := l.connector.PutDepartment(l.ctx, d)
		require.True(l, l.failure(err, target.Transient).UnknownOutcome)
	},

	"an endless answer is not read to its end": func(l *law) {
		l.wire().Next(l.wire().Endless)
		_, err := l.connector.PutDepartment(l.ctx, l.department("a"))
		var e *target.Error
		require.ErrorAs(l, err, &e)
		require.True(l, e.UnknownOutcome)
	},

	"a redirect is not followed": func(l *law) {
		elsewhere := NewProxy(l, l.URL)
		l.wire().Always(func(w http.ResponseWriter, r *http.Request, _ http.Handler) {
			http.Redirect(w, r, elsewhere.URL, http.StatusTemporaryRedirect)
		})
		_, err := l.connector.PutUser(l.ctx, l.user("ann"))
		l.fails(err, target.Down)
		require.Empty(l, elsewhere.Requests())
	},

	"a call ends with its context": func(l *law) {
		operations := l.operations()
		came := make(chan struct{}, 1)
		l.wire().Always(func(w http.ResponseWriter, r *http.Request, forward http.Handler) {
			came <- struct{}{}
			l.wire().Hang(w, r, forward)
		})
		for name, send := range operations {
			ctx, cancel := context.WithCancel(l.ctx)
			done := make(chan error, 1)
			go func() { done <- send(ctx) }()
			select {
			case <-came:
			case err := <-done:
				require.FailNow(l, "it did not wait for the answer", "%s: %v", name, err)
			}
			cancel()
			require.ErrorIs(l, <-done, context.Canceled, name)
		}
	},

	"a server that is not there is down": func(l *law) {
		connector := l.connect("http://"+nowhere, l.Secret)
		_, err := connector.Describe(l.ctx)
		l.fails(err, target.Down)
		_, err = connector.PutUser(l.ctx, l.user("ann"))
		require.False(l, l.failure(err, target.Down).UnknownOutcome)
	},

	"a server whose certificate does not verify is down": func(l *law) {
		server := httptest.NewUnstartedServer(http.NotFoundHandler())
		server.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
		server.TLS = &tls.Config{MinVersion: tls.VersionTLS12}
		server.StartTLS()
		l.Cleanup(server.Close)
		_, err := l.connect(server.URL, l.Secret).PutUser(l.ctx, l.user("ann"))
		e := l.failure(err, target.Down)
		require.False(l, e.UnknownOutcome)
		require.Contains(l, e.Detail, "certificate")
	},

	"a server that speaks no TLS is down": func(l *law) {
		u, err := url.Parse(l.wire().URL)
		require.NoError(l, err)
		u.Scheme = "https"
		_, err = l.connect(u.String(), l.Secret).PutUser(l.ctx, l.user("ann"))
		require.False(l, l.failure(err, target.Down).UnknownOutcome)
	},

	"the wrong secret is down, told by the probe already": func(l *law) {
		connector := l.connect(l.wire().URL, "the-wrong-secret")
		_, err := connector.Describe(l.ctx)
		e := l.failure(err, target.Down)
		require.NotContains(l, err.Error(), "the-wrong-secret")
		require.Contains(l, e.Detail, "auth")
	},

	"a probe fails as down, however the server fails": func(l *law) {
		for _, status := range []int{301, 400, 401, 403, 500, 503} {
			l.wire().Always(Answer(status, ""))
			_, err := l.connector.Describe(l.ctx)
			l.fails(err, target.Down)
		}
		l.wire().Always(Answer(404, ""))
		_, err := l.connector.Describe(l.ctx)
		require.Contains(l, l.failure(err, target.Down).Detail, "url")
		l.wire().Always(Answer(429, "", "Retry-After", "5"))
		_, err = l.connector.Describe(l.ctx)
		require.Equal(l, 5*time.Second, l.failure(err, target.RateLimited).RetryAfter)
	},
}

// classLaws is one law for each expectation.
func classLaws() map[string]func(*law) {
	classes := make(map[string]func(*law), len(expectations))
	for name, want := range expectations {
		classes[name] = func(l *law) {
			operations := l.operations()
			if want.impatient {
				l.connector = l.connectWith(l.wire().URL, l.Secret, impatience)
				l.capabilities() // is let in before the fault
			}
			l.wire().Always(want.fault(l))
			for operation, err := range attempt(l.ctx, operations) {
				e := l.failure(err, want.class)
				require.Equal(l, want.unknown, e.UnknownOutcome, operation)
				require.GreaterOrEqual(l, e.RetryAfter, want.atLeast, operation)
				require.LessOrEqual(l, e.RetryAfter, want.atMost, operation)
			}
			l.wire().Heal()
			l.connector = l.connect(l.wire().URL, l.Secret)
			require.NoError(l, operations["change an account"](l.ctx), "afterwards")
		}
	}
	return classes
}

// attempt runs all operations at once: some wait for as long as they may.
func attempt(ctx context.Context, operations map[string]func(context.Context) error) map[string]error {
	var mu sync.Mutex
	var running sync.WaitGroup
	errs := make(map[string]error, len(operations))
	for operation, send := range operations {
		running.Go(func() {
			err := send(ctx)
			mu.Lock()
			defer mu.Unlock()
			errs[operation] = err
		})
	}
	running.Wait()
	return errs
}
