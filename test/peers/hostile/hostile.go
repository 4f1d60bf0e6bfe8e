// Package hostile makes a SCIM server the worst that the field has seen: by
// seed it refuses, stalls, hangs up, carries a request out and loses its
// answer, ignores filters, answers with somebody else's object first, and
// pages oddly. What it carries out it carries out rightly: when it is calm
// again, its content is what was asked for.
package hostile

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Fault is a way to misbehave.
type Fault string

// The faults.
const (
	TooManyWithWait Fault = "429 with Retry-After"
	TooMany         Fault = "429 without"
	Internal        Fault = "500 before anything is done"
	Unavailable     Fault = "503"
	UnavailableWait Fault = "503 with Retry-After"
	Reset           Fault = "connection reset before anything is done"
	LostReset       Fault = "done, then the connection is reset"
	LostInternal    Fault = "done, then 500"
	Hang            Fault = "hangs, then hangs up"
	Garbage         Fault = "HTML in place of an answer to a look-up"
	IgnoreFilter    Fault = "answers a search with everything"
	OtherFirst      Fault = "answers a search with somebody else's object first"
	Twice           Fault = "lists an object twice"
	OddPage         Fault = "a page of one, and a wrong total"
)

// faults lists them; those of changes may strike any request, those of
// searches only a search.
var (
	faults       = []Fault{TooManyWithWait, TooMany, Internal, Unavailable, UnavailableWait, Reset, LostReset, LostInternal, Hang}
	searchFaults = []Fault{Garbage, IgnoreFilter, OtherFirst, Twice, OddPage}
)

// Server stands before a SCIM server and misbehaves.
type Server struct {
	inner http.Handler
	// Rate is how many of a hundred requests meet a fault.
	rate  int
	calm  atomic.Bool
	mu    sync.Mutex
	dice  *rand.Rand
	count map[Fault]int
}

// New puts a server of a seed before inner. rate is in percent.
func New(inner http.Handler, seed uint64, rate int) *Server {
	return &Server{inner: inner, rate: rate, dice: rand.New(rand.NewPCG(seed, 0x5c1)), count: make(map[Fault]int)}
}

// Calm ends all misbehaviour.
func (s *Server) Calm() { s.calm.Store(true) }

// Struck counts the faults so far.
func (s *Server) Struck() map[Fault]int {
	s.mu.Lock()
	defer s.mu.Unlock()
	struck := make(map[Fault]int, len(s.count))
	maps.Copy(struck, s.count)
	return struck
}

// draw decides about one request.
func (s *Server) draw(r *http.Request) (Fault, time.Duration) {
	if s.calm.Load() {
		return "", 0
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.dice.IntN(100) >= s.rate {
		return "", 0
	}
	choice := faults
	if isSearch(r) && s.dice.IntN(2) == 0 {
		choice = searchFaults
	}
	fault := choice[s.dice.IntN(len(choice))]
	s.count[fault]++
	return fault, time.Duration(s.dice.IntN(200)) * time.Millisecond
}

func isSearch(r *http.Request) bool { return r.Method == http.MethodGet && r.URL.Query().Has("filter") }

// ServeHTTP implements http.Handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	fault, wait := s.draw(r)
	switch fault {
	case "":
		s.inner.ServeHTTP(w, r)
	case TooManyWithWait:
		w.Header().Set("Retry-After", strconv.Itoa(int(wait/(150*time.Millisecond))))
		w.WriteHeader(http.StatusTooManyRequests)
	case TooMany:
		w.WriteHeader(http.StatusTooManyRequests)
	case Internal:
		w.WriteHeader(http.StatusInternalServerError)
	case Unavailable:
		w.WriteHeader(http.StatusServiceUnavailable)
	case UnavailableWait:
		w.Header().Set("Retry-After", "1")
		w.WriteHeader(http.StatusServiceUnavailable)
	case Reset:
		hangUp(w)
	case Hang:
		select {
		case <-time.After(wait): // stalls, as a peer; nothing waits for it
		case <-r.Context().Done():
		}
		hangUp(w)
	case LostReset:
		s.inner.ServeHTTP(httptest.NewRecorder(), r)
		hangUp(w)
	case LostInternal:
		s.inner.ServeHTTP(httptest.NewRecorder(), r)
		w.WriteHeader(http.StatusInternalServerError)
	case Garbage:
		w.Header().Set("Content-Type", "text/html")
		_, _ = io.WriteString(w, "<html><body>Welcome to the intranet!</body></html>")
	default:
		s.search(w, r, fault)
	}
}

// hangUp resets the connection.
func hangUp(w http.ResponseWriter) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	_ = conn.Close()
}

// search answers a search, wrongly.
func (s *Server) search(w http.ResponseWriter, r *http.Request, fault Fault) {
	answer := httptest.NewRecorder()
	asked := r.Clone(r.Context())
	if fault == IgnoreFilter || fault == OtherFirst {
		query := asked.URL.Query()
		query.Del("filter")
		asked.URL.RawQuery = query.Encode()
	}
	s.inner.ServeHTTP(answer, asked)
	var list map[string]any
	if answer.Code != http.StatusOK || json.Unmarshal(answer.Body.Bytes(), &list) != nil {
		copyAnswer(w, answer)
		return
	}
	objects, _ := list["Resources"].([]any)
	switch fault {
	case OtherFirst:
		// Somebody else's, then what was asked for.
		right := httptest.NewRecorder()
		s.inner.ServeHTTP(right, r)
		var asked map[string]any
		if json.Unmarshal(right.Body.Bytes(), &asked) == nil {
			wanted, _ := asked["Resources"].([]any)
			objects = append(objects[:min(1, len(objects))], wanted...)
		}
	case Twice:
		objects = append(objects, objects...)
	case OddPage:
		list["totalResults"] = 1 << 20
		objects = objects[:min(1, len(objects))]
	}
	list["Resources"] = objects
	text, err := json.Marshal(list)
	if err != nil {
		w.WriteHeader(http.StatusInternalServerError)
		return
	}
	answer.Body = bytes.NewBuffer(text)
	copyAnswer(w, answer)
}

func copyAnswer(w http.ResponseWriter, answer *httptest.ResponseRecorder) {
	for name, values := range answer.Header() {
		if !strings.EqualFold(name, "Content-Length") {
			w.Header()[name] = values
		}
	}
	w.WriteHeader(answer.Code)
	_, _ = w.Write(answer.Body.Bytes())
}

// String says what has struck how often.
func (s *Server) String() string { return fmt.Sprint(s.Struck()) }
