package marketplace_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/openkoo/connector/coordination/local"
	"github.com/openkoo/connector/directory"
	"github.com/openkoo/connector/marketplace"
)

// receiver is a Receiver made of a function.
type receiver func(ctx context.Context, push *directory.Push) (directory.Result, error)

func (r receiver) Receive(ctx context.Context, push *directory.Push) (directory.Result, error) {
	return r(ctx, push)
}

// counting counts what comes through to the real receiver.
func counting(n *atomic.Int32) func(marketplace.Receiver) marketplace.Receiver {
	return func(next marketplace.Receiver) marketplace.Receiver {
		return receiver(func(ctx context.Context, push *directory.Push) (directory.Result, error) {
			n.Add(1)
			return next.Receive(ctx, push)
		})
	}
}

// failing fails with err, until it is nil.
func failing(err *error) func(marketplace.Receiver) marketplace.Receiver {
	return func(next marketplace.Receiver) marketplace.Receiver {
		return receiver(func(ctx context.Context, push *directory.Push) (directory.Result, error) {
			if *err != nil {
				return "", *err
			}
			return next.Receive(ctx, push)
		})
	}
}

func (h *house) serve(t *testing.T) *httptest.Server {
	t.Helper()
	server := httptest.NewServer(h.router)
	t.Cleanup(server.Close)
	return server
}

func (h *house) single(t *testing.T) *call {
	t.Helper()
	return h.newCall(directory.SingleOrgSync, h.validBodies(t)[directory.SingleOrgSync].json())
}

// requireCounted wants the calls of an interface by code and count.
func (h *house) requireCounted(t *testing.T, kind directory.PushKind, byCode map[string]int) {
	t.Helper()
	families, err := h.registry.Gather()
	require.NoError(t, err)
	counted := map[string]int{}
	for _, family := range families {
		if family.GetName() != "orgsync_pushes_total" {
			continue
		}
		for _, metric := range family.GetMetric() {
			labels := map[string]string{}
			for _, label := range metric.GetLabel() {
				labels[label.GetName()] = label.GetValue()
			}
			require.Equal(t, string(kind), labels["kind"])
			counted[labels["code"]] = int(metric.GetCounter().GetValue())
		}
	}
	require.Equal(t, byCode, counted)
}

func TestEveryInterfaceIsAnswered(t *testing.T) {
	t.Parallel()
	h := newHouse(t, nil)
	for i, kind := range directory.PushKinds() {
		got := h.do(t, h.newCall(kind, h.validBodies(t)[kind].json()).sign(t))
		require.JSONEq(t, `{"resultCode": "000000", "resultMsg": "success."}`, got.body, kind)
		require.Len(t, h.stored(t).Pushes, i+1)
	}
}

// A time from the far future costs the order of its own push, and no other's.
func TestATimeInTheFutureMakesNoLaterPushStale(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		ahead time.Duration
		stays bool
	}{{0, true}, {8 * time.Hour, true}, {24 * time.Hour, true}, {24*time.Hour + time.Millisecond, false}, {70 * 365 * 24 * time.Hour, false}} {
		t.Run(c.ahead.String(), func(t *testing.T) {
			t.Parallel()
			h := newHouse(t, nil)
			department := h.validBodies(t)[directory.SingleOrgSync]
			push := func(name string, at time.Time) {
				body := department.with("orgName", name).with("timeStamp", directory.SourceTimeOf(at).Wire())
				require.Equal(t, "000000", h.do(t, h.newCall(directory.SingleOrgSync, body.json()).sign(t)).ResultCode)
			}
			push("from a clock that is ahead", h.clock.now().Add(c.ahead))
			want := h.clock.now()
			if c.stays {
				want = want.Add(c.ahead)
			}
			require.Equal(t, directory.SourceTimeOf(want), h.stored(t).Pushes[0].SourceTime)
			require.Equal(t, !c.stays, strings.Contains(h.log.take(), "timeStamp is in the future"))

			if c.stays {
				h.clock.advance(c.ahead)
			}
			h.clock.advance(time.Second)
			push("from now", h.clock.now())
			require.Equal(t, "from now", h.stored(t).Changes[0].Department.Name)
		})
	}
}

// A log tells what happened to whom, and nothing that should not be known.
func TestLogIsDiscreet(t *testing.T) {
	t.Parallel()
	h := newHouse(t, nil)
	for kind, body := range h.validBodies(t) {
		request := h.newCall(kind, body.json()).sign(t)
		require.Equal(t, "000000", h.do(t, request).ResultCode)
		log := h.log.take()
		require.Contains(t, log, `"kind":"`+string(kind)+`"`)
		require.Contains(t, log, `"scope":"prod/inst-1/tenant-1"`)
		require.Contains(t, log, `"code":"000000"`)
		requireDiscreet(t, log, request)
	}
}

func TestRepeatIsAnsweredFromMemory(t *testing.T) {
	t.Parallel()
	var received atomic.Int32
	h := newHouse(t, counting(&received))
	request := h.single(t).sign(t)
	first := h.do(t, request)
	before := h.stored(t)
	h.clock.advance(59 * time.Second)
	request.signature = strings.ToUpper(request.signature)
	require.Equal(t, first, h.do(t, request))
	require.Equal(t, before, h.stored(t))
	require.EqualValues(t, 1, received.Load())
	require.Contains(t, h.log.take(), `"result":"remembered"`)

	h.clock.advance(2 * time.Second)
	require.Contains(t, h.do(t, request).ResultMsg, "x-timestamp: expired", "after that the window is closed")
	require.Equal(t, before, h.stored(t))
	h.requireCounted(t, directory.SingleOrgSync, map[string]int{"000000": 2, "000002": 1})
}

func TestRefusalIsRememberedUnderItsCode(t *testing.T) {
	t.Parallel()
	h := newHouse(t, nil)
	request := h.newCall(directory.SingleOrgSync, h.validBodies(t)[directory.SingleOrgSync].without("orgName").json()).sign(t)
	first := h.do(t, request)
	require.Equal(t, "000002", first.ResultCode)
	require.Equal(t, first, h.do(t, request))
	h.requireCounted(t, directory.SingleOrgSync, map[string]int{"000002": 2})
}

// A signature must not outlive the memory of its nonce: not at the far end of
// the window, and not by a body that takes its time.
func TestNonceIsRememberedAsLongAsItsStampHolds(t *testing.T) {
	t.Parallel()
	var received atomic.Int32
	h := newHouse(t, counting(&received))
	h.clock.advance(-time.Minute)
	request := h.single(t)
	h.clock.advance(time.Minute)
	request.timestamp = fmt.Sprint(houseBegins.Add(5 * time.Minute).UnixMilli())
	request.sign(t)
	require.Equal(t, "000000", h.do(t, request).ResultCode)
	for range 359 {
		h.clock.advance(time.Second)
		require.Equal(t, "000000", h.do(t, request).ResultCode)
	}
	h.clock.advance(1001 * time.Millisecond)
	require.Equal(t, "000002", h.do(t, request).ResultCode)
	require.EqualValues(t, 1, received.Load())
}

func TestSlowBody(t *testing.T) {
	t.Parallel()
	for name, passes := range map[string]time.Duration{"within the window": 59 * time.Second, "beyond the window": 61 * time.Second} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHouse(t, nil)
			request := h.single(t).sign(t)
			reader, writer := io.Pipe()
			http := request.request(t.Context(), "")
			http.Body, http.ContentLength = reader, int64(len(request.body))
			recorder := httptest.NewRecorder()
			served := make(chan struct{})
			go func() {
				defer close(served)
				h.router.ServeHTTP(recorder, http)
			}()
			half := len(request.body) / 2
			_, err := writer.Write(request.body[:half]) // returns when it is read
			require.NoError(t, err)
			h.clock.advance(passes)
			_, err = writer.Write(request.body[half:])
			require.NoError(t, err)
			require.NoError(t, writer.Close())
			<-served
			got := readAnswer(t, recorder.Code, recorder.Body.Bytes())
			if passes < time.Minute {
				require.Equal(t, "000000", got.ResultCode)
				return
			}
			require.Equal(t, "000002", got.ResultCode)
			require.Contains(t, got.ResultMsg, "x-timestamp: expired")
			require.Empty(t, h.stored(t))
		})
	}
}

func TestConcurrentRepeatsHaveOneEffect(t *testing.T) {
	t.Parallel()
	var received atomic.Int32
	h := newHouse(t, counting(&received))
	request := h.newCall(directory.AllOrgSync, h.validBodies(t)[directory.AllOrgSync].json()).sign(t)
	const callers = 16
	answers := make([]answer, callers)
	var all sync.WaitGroup
	for i := range callers {
		all.Go(func() {
			recorder := httptest.NewRecorder()
			h.router.ServeHTTP(recorder, request.request(context.Background(), ""))
			answers[i] = answer{status: recorder.Code, body: recorder.Body.String()}
		})
	}
	all.Wait()
	for _, a := range answers {
		require.Equal(t, answer{status: http.StatusOK, body: `{"resultCode": "000000", "resultMsg": "success."}`}, a)
	}
	require.EqualValues(t, 1, received.Load())
	require.Len(t, h.stored(t).Pushes, 1)
}

func TestOwnFailureIsNotRemembered(t *testing.T) {
	t.Parallel()
	err := errors.New("disk I/O error: /var/lib/orgsync/orgsync.db")
	h := newHouse(t, failing(&err))
	request := h.single(t).sign(t)
	got := h.do(t, request)
	require.Equal(t, http.StatusOK, got.status)
	require.Equal(t, "000005", got.ResultCode)
	require.Contains(t, got.ResultMsg, "send it again")
	require.NotContains(t, got.ResultMsg, "disk", "the marketplace need not know")
	log := h.log.take()
	require.Contains(t, log, `"level":"ERROR"`)
	require.Contains(t, log, "disk I/O error", "the operator must")
	_, id, ok := strings.Cut(got.ResultMsg, "(push ")
	require.True(t, ok)
	require.Contains(t, log, strings.TrimSuffix(id, ")"), "and finds it by the same name")
	require.Empty(t, h.stored(t))

	err = nil
	require.Equal(t, "000000", h.do(t, request).ResultCode)
	require.Len(t, h.stored(t).Changes, 1)
	h.requireCounted(t, directory.SingleOrgSync, map[string]int{"000000": 1, "000005": 1})
}

// More calls than can be remembered are sent away, and may come again when
// there is room.
func TestFullNonceMemorySendsAway(t *testing.T) {
	t.Parallel()
	var received atomic.Int32
	h := newHouse(t, func(marketplace.Receiver) marketplace.Receiver {
		return receiver(func(context.Context, *directory.Push) (directory.Result, error) {
			received.Add(1)
			return directory.ResultApplied, nil
		})
	})
	request := h.single(t)
	for i := range maxNonces {
		request.nonce = fmt.Sprint(i)
		require.Equal(t, "000000", h.do(t, request.sign(t)).ResultCode)
	}
	request.nonce = "one too many"
	require.Equal(t, "000005", h.do(t, request.sign(t)).ResultCode)
	require.EqualValues(t, maxNonces, received.Load())
	h.clock.advance(7 * time.Minute)
	request.timestamp = fmt.Sprint(h.clock.now().UnixMilli())
	require.Equal(t, "000000", h.do(t, request.sign(t)).ResultCode)
}

func TestPanicIsAnsweredAndForgotten(t *testing.T) {
	t.Parallel()
	blow := true
	h := newHouse(t, func(next marketplace.Receiver) marketplace.Receiver {
		return receiver(func(ctx context.Context, push *directory.Push) (directory.Result, error) {
			if blow {
				panic("index out of range")
			}
			return next.Receive(ctx, push)
		})
	})
	request := h.single(t).sign(t)
	got := h.do(t, request)
	require.Equal(t, "000005", got.ResultCode)
	require.NotContains(t, got.body, "index out of range")
	log := h.log.take()
	require.Contains(t, log, "index out of range")
	require.Contains(t, log, "door_test.go", "with the place, for whoever mends it")
	blow = false
	require.Equal(t, "000000", h.do(t, request).ResultCode)
}

func TestReceiversWordsBecomeCodes(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		err        error
		code, says string
	}{
		"an unknown instance":    {fmt.Errorf("prepare: %w", directory.ErrUnknownInstance), "000003", "instanceId: no such instance"},
		"a secret that is shut":  {fmt.Errorf("prepare: %w", directory.ErrClientSecret), "000101", "clientSecret: does not decrypt"},
		"an invalid member":      {fmt.Errorf("prepare: %w", directory.Invalid("orgInfoList", "cycle")), "000002", "orgInfoList: cycle"},
		"a very long reason":     {directory.Invalid("orgInfoList", "%s", strings.Repeat("环", 300)), "000002", "环…"},
		"awkward words":          {directory.Invalid("orgName", "%s", "a\"b\\c\n\x01"), "000002", "orgName: a\"b\\c\n\x01"},
		"a deadline":             {context.DeadlineExceeded, "000005", "send it again"},
		"an error of the caller": {context.Canceled, "000005", "send it again"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHouse(t, failing(&c.err))
			got := h.do(t, h.single(t).sign(t))
			require.Equal(t, http.StatusOK, got.status)
			require.Equal(t, c.code, got.ResultCode)
			require.Contains(t, got.ResultMsg, c.says)
		})
	}
}

// Who hangs up after sending has still sent.
func TestHangUpDoesNotUndoAPush(t *testing.T) {
	t.Parallel()
	began, goOn, ended := make(chan struct{}), make(chan struct{}), make(chan error, 1)
	gone := make(chan struct{})
	h := newHouse(t, func(next marketplace.Receiver) marketplace.Receiver {
		return receiver(func(ctx context.Context, push *directory.Push) (directory.Result, error) {
			close(began)
			<-goOn
			result, err := next.Receive(ctx, push)
			ended <- errors.Join(err, ctx.Err())
			return result, err
		})
	})
	// The router behind a handler that tells when the server saw the caller go.
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		context.AfterFunc(r.Context(), func() { close(gone) })
		h.router.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	ctx, hangUp := context.WithCancel(t.Context())
	called := make(chan error, 1)
	request := h.single(t).sign(t).request(ctx, server.URL)
	go func() {
		response, err := server.Client().Do(request)
		if err == nil {
			_ = response.Body.Close()
		}
		called <- err
	}()
	<-began
	hangUp()
	require.ErrorIs(t, <-called, context.Canceled)
	<-gone
	close(goOn)
	require.NoError(t, <-ended)
	require.Len(t, h.stored(t).Changes, 1)
}

// A body that ends before its declared length is no push.
func TestBodyCutOffOnTheWire(t *testing.T) {
	t.Parallel()
	h := newHouse(t, nil)
	server := h.serve(t)
	request := h.single(t).sign(t)
	connection, err := net.Dial("tcp", server.Listener.Addr().String())
	require.NoError(t, err)
	defer func() { _ = connection.Close() }()
	_, err = fmt.Fprintf(connection, "POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\nx-nonce: %s\r\nx-timestamp: %s\r\nx-sign: %s\r\n\r\n%s",
		request.path, len(request.body)+1000, request.nonce, request.timestamp, request.signature, request.body)
	require.NoError(t, err)
	require.NoError(t, connection.(*net.TCPConn).CloseWrite())
	response, err := http.ReadResponse(bufio.NewReader(connection), nil)
	require.NoError(t, err)
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	got := readAnswer(t, response.StatusCode, body)
	require.Equal(t, "000002", got.ResultCode)
	require.Contains(t, got.ResultMsg, "body: cannot be read to its end")
	require.Empty(t, h.stored(t))
}

// Whoever is refused reads why, however much is still to be sent.
func TestRefusalIsHeardOverTheWire(t *testing.T) {
	t.Parallel()
	h := newHouse(t, nil)
	server := h.serve(t)
	large := bytes.Repeat([]byte(" "), maxBody-1)
	cases := map[string]struct {
		change func(*http.Request)
		says   string
	}{
		"headers alone": {func(r *http.Request) { r.Header.Del("x-timestamp") }, "x-timestamp: missing"},
		"over the limit, undeclared": {func(r *http.Request) {
			r.Body, r.ContentLength = io.NopCloser(io.MultiReader(bytes.NewReader(large), strings.NewReader("  "))), -1
		}, "body: larger than"},
		"over the limit, declared": {func(r *http.Request) {
			r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(append(large, "  "...))), maxBody+1
		}, "body: larger than"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			request := h.newCall(directory.SingleOrgSync, large).sign(t).request(t.Context(), server.URL)
			c.change(request)
			response, err := server.Client().Do(request)
			require.NoError(t, err)
			defer func() { _ = response.Body.Close() }()
			body, err := io.ReadAll(response.Body)
			require.NoError(t, err)
			got := readAnswer(t, response.StatusCode, body)
			require.Equal(t, "000002", got.ResultCode)
			require.Contains(t, got.ResultMsg, c.says)
			require.Empty(t, h.stored(t))
		})
	}
}

// A caller cut off while it still sends would never read the answer, so even
// what is refused for its headers is read to its end, or to the limit.
func TestRefusedBodyIsReadToItsEnd(t *testing.T) {
	t.Parallel()
	h := newHouse(t, nil)
	for size, left := range map[int]int{maxBody: 0, 2 * maxBody: maxBody - 1} {
		body := bytes.NewReader(make([]byte, size))
		request := h.single(t).request(t.Context(), "") // not signed
		request.Body, request.ContentLength = io.NopCloser(body), int64(size)
		recorder := httptest.NewRecorder()
		h.router.ServeHTTP(recorder, request)
		require.Equal(t, "000001", readAnswer(t, recorder.Code, recorder.Body.Bytes()).ResultCode)
		require.Equal(t, left, body.Len())
	}
}

func TestNewDoorNeedsKeys(t *testing.T) {
	t.Parallel()
	nonces := local.NewNonces(0, nil)
	for says, keys := range map[string][]string{"ORGSYNC_KIT_ACCESS_KEYS": nil, "access key 2 is empty": {"k", ""}} {
		_, err := marketplace.NewDoor(marketplace.Options{Keys: keys}, nil, nonces)
		require.ErrorContains(t, err, says)
	}
	_, err := marketplace.NewDoor(marketplace.Options{Keys: []string{"k"}}, nil, nonces)
	require.NoError(t, err, "everything else has a default")
}
