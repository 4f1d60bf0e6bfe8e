package simulate_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/openkoo/connector/marketplace"
	"github.com/openkoo/connector/marketplace/simulate"
)

// The connector as it ships passes every case of both generations. Servers
// that are wrong in one way fail exactly the cases that are about it, with the
// finding that names it.
func TestProductionAddresses(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	t.Run("the connector passes", func(t *testing.T) { passes(t, h) })
	for _, s := range slices.Concat(wrongServers(), wrongShops()) {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			options := h.options(h.worse(t, s.lie()).URL)
			if s.change != nil {
				s.change(&options)
			}
			report := run(t, options, s.plays...)
			require.Equal(t, s.want, failed(report))
			for _, r := range report.Results {
				if r.Finding != nil {
					require.NotEmpty(t, r.Finding.Remedy, r.ID)
					text := strings.Join(r.Finding.Lines(r.Section), "\n")
					require.NotContains(t, text, accessKey, r.ID)
					require.NotRegexp(t, `[?&](authToken|signature|nonce)=`, r.Finding.Request, "nothing that could be sent again")
					require.NotContains(t, text, "\x1b", "nothing draws on the reader's terminal")
				}
			}
		})
	}
	t.Run("a server that hangs", func(t *testing.T) { t.Parallel(); hangs(t, h, false) })
	t.Run("an answer that hangs", func(t *testing.T) { t.Parallel(); hangs(t, h, true) })
	t.Run("an instance that takes its time", func(t *testing.T) { t.Parallel(); takesItsTime(t, h) })
	t.Run("a user name that is encrypted", func(t *testing.T) { t.Parallel(); encryptsUser(t, h) })
	t.Run("a server that falls silent", func(t *testing.T) { t.Parallel(); fallsSilent(t, h) })
	t.Run("a run that is interrupted", func(t *testing.T) { t.Parallel(); interrupted(t, h) })
	t.Run("a run takes away what it has made", func(t *testing.T) { t.Parallel(); takesAway(t, h) })
	t.Run("without the public key", func(t *testing.T) { t.Parallel(); withoutPublicKey(t, h) })
}

func passes(t *testing.T, h *house) {
	for _, production := range []bool{false, true} {
		options := h.options(h.address.String())
		options.Production = production
		steps := 0
		options.Progress = func(n int) { steps += n }
		report := run(t, options, "v1", "v2")
		require.Empty(t, failed(report))
		if !production {
			require.Zero(t, report.Skipped)
		}
		require.Equal(t, len(simulate.Catalogue()), report.Passed+report.Skipped)
		require.Greater(t, report.Calls, int64(900))
		require.Equal(t, len(simulate.Catalogue())+2*options.Life.Days, steps)
	}
}

// hangs is found out as soon as time is up; within says that the answer has
// begun.
func hangs(t *testing.T, h *house, within bool) {
	hung := make(chan struct{})
	server := h.worse(t, func(w http.ResponseWriter, c *call, _ *reply) bool {
		if !renames(c) {
			return false
		}
		if within {
			_, _ = io.WriteString(w, `{"resultCode":`)
			_ = http.NewResponseController(w).Flush()
		}
		close(hung)
		<-c.Context().Done()
		return true
	})
	options := h.options(server.URL)
	options.HTTP = &http.Client{Transport: impatient{hung, within}}
	want := simulate.TimedOut
	if within {
		want = simulate.EndlessAnswer
	}
	require.Equal(t, found(want, "kit-v2-03"), failed(run(t, options, "kit-v2-02", "kit-v2-03")))
}

func takesItsTime(t *testing.T, h *house) {
	queries := make(map[string]int) // the calls of these cases come one by one
	server := h.worse(t, func(_ http.ResponseWriter, c *call, r *reply) bool {
		id := fmt.Sprint(c.members["instanceId"])
		switch {
		case c.is("activity", "newInstance") && r.has("000000"):
			r.code("000004")
		case c.is("activity", "queryInstance") && r.has("000000"):
			if queries[id]++; queries[id] < 3 {
				r.set("info", nil)
				r.code("000004")
			}
		}
		return false
	})
	report := run(t, h.options(server.URL), "base-v2-01", "base-v2-02", "base-v2-05", "base-v2-06", "base-v1-05")
	require.Empty(t, failed(report))
	require.Len(t, queries, 3)
}

func encryptsUser(t *testing.T, h *house) {
	server := h.worse(t, func(_ http.ResponseWriter, c *call, r *reply) bool {
		how := marketplace.AES256
		if c.is("encryptType", 2) {
			how = marketplace.AES128
		}
		answerUser(c, r, marketplace.EncryptSensitive(accessKey, "管理员", how))
		return false
	})
	require.Empty(t, failed(run(t, h.options(server.URL), "base-v1")))
}

// A server that does not answer is not asked a hundred times.
func fallsSilent(t *testing.T, h *house) {
	server := h.worse(t, func(_ http.ResponseWriter, c *call, _ *reply) bool {
		if c.kit("authSync") {
			panic(http.ErrAbortHandler)
		}
		return false
	})
	report := run(t, h.options(server.URL), "kit-v2-01", "kit-v2-09")
	require.Equal(t, found(simulate.NoAnswer, "kit-v2-09"), failed(report))

	silent := h.worse(t, func(_ http.ResponseWriter, c *call, _ *reply) bool {
		if c.is("activity", "newInstance") {
			panic(http.ErrAbortHandler)
		}
		return false
	})
	report = run(t, h.options(silent.URL), "kit-v2-05", "base-v2-01", "base-v2-02", "base-v2-05", "base-v2-06", "base-v2-19")
	require.Len(t, failed(report), 3)
	require.Equal(t, 2, report.Skipped)
	require.Equal(t, "not played: 3 calls in a row had no answer", report.Results[5].Reason)
}

func interrupted(t *testing.T, h *house) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	server := h.worse(t, func(_ http.ResponseWriter, c *call, _ *reply) bool {
		if renames(c) {
			cancel()
			<-c.Context().Done()
		}
		return false
	})
	report, err := runIn(ctx, t, h.options(server.URL), "kit-v2-02", "kit-v2-03", "kit-v2-04")
	require.ErrorIs(t, err, context.Canceled)
	require.Equal(t, []int{1, 0, 2}, []int{report.Passed, report.Failed, report.Skipped})
	require.Equal(t, "interrupted", report.Results[2].Reason)
}

// leavesNothing counts what a run makes at the server and takes away again.
func leavesNothing(t *testing.T, h *house, stopAt func(*call) bool, only ...string) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var mu sync.Mutex
	left := make(map[string]bool)
	server := h.worse(t, func(_ http.ResponseWriter, c *call, r *reply) bool {
		mu.Lock()
		defer mu.Unlock()
		enterprise := fmt.Sprint("enterprise ", c.members["instanceId"], "/", c.members["tenantId"])
		switch {
		case c.is("activity", "newInstance"):
			left[fmt.Sprint("instance ", r.text["instanceId"])] = true
		case c.is("activity", "releaseInstance"):
			delete(left, fmt.Sprint("instance ", c.members["instanceId"]))
		case c.kit("tenantSync") && c.is("flag", 0):
			delete(left, enterprise)
		case c.kit("tenantSync"):
			left[enterprise] = true
		}
		if stopAt != nil && stopAt(c) {
			cancel()
		}
		return false
	})
	_, err := runIn(ctx, t, h.options(server.URL), only...)
	if stopAt != nil {
		require.ErrorIs(t, err, context.Canceled)
	} else {
		require.NoError(t, err)
	}
	require.Empty(t, left)
}

func takesAway(t *testing.T, h *house) {
	everything := []string{"kit-v2-01", "kit-v2-03", "base-v2-02", "life"}
	leavesNothing(t, h, nil, everything...)
	leavesNothing(t, h, nil, "life-v2-01", "life-v1-02", "base-v2-01") // lives that are not played to their end
	leavesNothing(t, h, renames, everything...)
	leavesNothing(t, h, func(c *call) bool { return c.is("activity", "upgradeInstance") }, everything...)
	leavesNothing(t, h, func(c *call) bool { return c.kit("authSync") && c.is("flag", 3) }, everything...)
}

func withoutPublicKey(t *testing.T, h *house) {
	options := h.options(h.address.String())
	options.PublicKey = nil
	report := run(t, options, "kit-v2-05", "kit-v2-06", "kit-v2-07", "kit-v2-08", "kit-v2-binding")
	require.Empty(t, failed(report))
	require.Equal(t, 3, report.Skipped)
	options.PublicKey = []byte("no key")
	report = run(t, options, "kit-v2-06")
	require.Equal(t, "--public-key: public key: no PEM block found", report.Results[0].Reason)
}

func TestATLSThatCannotBeTrustedEndsTheRun(t *testing.T) {
	t.Parallel()
	server := httptest.NewUnstartedServer(http.NotFoundHandler())
	server.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	server.StartTLS()
	t.Cleanup(server.Close)
	report := run(t, simulate.Options{Address: server.URL, KitKeys: []string{accessKey}}, "kit-v2-01", "kit-v2-02")
	require.Equal(t, found(simulate.BadTLS, "kit-v2-01"), failed(report))
	require.Equal(t, "not played: no TLS connection can be made", report.Results[1].Reason)

	plain := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(plain.Close)
	report = run(t, simulate.Options{Address: strings.Replace(plain.URL, "http", "https", 1), KitKeys: []string{accessKey}}, "kit-v2-01")
	require.Equal(t, found(simulate.BadTLS, "kit-v2-01"), failed(report))
}

// Where the base interface is played too, the first call of all is the order of
// the kit's instance: that it fails must not pass for a success.
func TestTheFirstFailureIsSomebodys(t *testing.T) {
	t.Parallel()
	plain := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(plain.Close)
	options := simulate.Options{Address: strings.Replace(plain.URL, "http", "https", 1), KitKeys: []string{accessKey}}
	report := run(t, options, "kit-v2-16", "base-v2-01")
	require.Equal(t, found(simulate.BadTLS, "kit-v2-16"), failed(report))
	require.Equal(t, 1, report.Skipped)
}

// A server that closes connections that rest is no broken one.
func TestAConnectionThatIsClosedWhileItRestsIsOpenedAgain(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	var connections atomic.Int32
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			connection, err := listener.Accept()
			if err != nil {
				return
			}
			connections.Add(1)
			reader := bufio.NewReader(connection)
			if request, err := http.ReadRequest(reader); err == nil {
				_, _ = io.Copy(io.Discard, request.Body)
				_, _ = io.WriteString(connection, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 23\r\n\r\n"+`{"resultCode":"000000"}`)
				_, _ = reader.Peek(1) // the next request, which gets no answer
			}
			_ = connection.Close()
		}
	}()
	t.Cleanup(func() { _ = listener.Close(); <-ended })
	options := simulate.Options{Address: "http://" + listener.Addr().String(), KitKeys: []string{accessKey}, HTTP: &http.Client{Transport: &http.Transport{}}}
	report := run(t, options, "kit-v2-02", "kit-v2-04", "kit-v2-05")
	require.Empty(t, failed(report))
	require.Greater(t, connections.Load(), int32(3))
}

func TestAnAddressWhereNobodyListensIsNoFinding(t *testing.T) {
	t.Parallel()
	const nowhere = "http://127.0.0.1:1"
	report, err := runIn(t.Context(), t, simulate.Options{Address: nowhere, KitKeys: []string{accessKey}}, "v1", "v2")
	require.Nil(t, report)
	require.ErrorIs(t, err, simulate.ErrUnreachable)
	require.ErrorContains(t, err, nowhere)
	require.NotContains(t, err.Error(), "signature=")
}
