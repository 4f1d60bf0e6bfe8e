// Package doctor examines an installation of the connector and says for each
// thing that is not well what to do about it: configuration, keys, store,
// coordination, targets, clocks and the public address.
//
// It only looks. What it must try, such as a write, it undoes at once; no
// finding holds a secret.
package doctor

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// Level says how grave a finding is.
type Level string

// The levels, from the least grave.
const (
	OK      Level = "ok"
	Warning Level = "warning"
	Problem Level = "problem"
)

func (l Level) rank() int {
	switch l {
	case Problem:
		return 2
	case Warning:
		return 1
	default:
		return 0
	}
}

// Finding is what a check has found.
type Finding struct {
	// Check is what was looked at: "keys", "target corp-scim".
	Check   string `json:"check"`
	Level   Level  `json:"level"`
	Message string `json:"message"`
	// Next is what to do, empty where all is well.
	Next string `json:"next,omitempty"`
}

// Worst is the gravest level among findings.
func Worst(findings []Finding) Level {
	worst := OK
	for _, f := range findings {
		if f.Level.rank() > worst.rank() {
			worst = f.Level
		}
	}
	return worst
}

// Check is one thing to look at. Run ends when its context does.
type Check struct {
	Name string
	Run  func(ctx context.Context, notes *Notes)
}

// Notes gathers what a check finds.
type Notes struct {
	check string

	mu       sync.Mutex
	closed   bool
	findings []Finding
}

// OKf notes that something is well.
func (n *Notes) OKf(format string, args ...any) { n.addf(OK, "", format, args...) }

// Warnf notes what works and may not go on working.
func (n *Notes) Warnf(next, format string, args ...any) { n.addf(Warning, next, format, args...) }

// Problemf notes what does not work.
func (n *Notes) Problemf(next, format string, args ...any) { n.addf(Problem, next, format, args...) }

func (n *Notes) addf(level Level, next, format string, args ...any) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if !n.closed { // what a check says after its time is not heard
		n.findings = append(n.findings, Finding{Check: n.check, Level: level, Message: fmt.Sprintf(format, args...), Next: next})
	}
}

// unwell reports whether anything but OK was noted.
func (n *Notes) unwell() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return Worst(n.findings) != OK
}

func (n *Notes) close() []Finding {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.closed = true
	return n.findings
}

// grace is how long a check whose time is over may take to say so itself.
const grace = time.Second

// Examine runs the checks side by side, each for no longer than limit, and
// returns what they found in the order of the checks.
func Examine(ctx context.Context, checks []Check, limit time.Duration) []Finding {
	found := make([][]Finding, len(checks))
	var running sync.WaitGroup
	for i, check := range checks {
		running.Go(func() { found[i] = examine(ctx, check, limit) })
	}
	running.Wait()
	var all []Finding
	for _, findings := range found {
		all = append(all, findings...)
	}
	return all
}

// examine runs one check. One that hangs, on a dead disk for instance, is left
// behind.
func examine(ctx context.Context, check Check, limit time.Duration) []Finding {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	notes := &Notes{check: check.Name}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		check.Run(ctx, notes)
	}()
	select {
	case <-ended:
		return notes.close()
	case <-ctx.Done():
	}
	patience := time.NewTimer(grace)
	defer patience.Stop()
	select {
	case <-ended:
	case <-patience.C:
		notes.Problemf("Look at what it waits for: a disk, a name server, a firewall that drops packets.", "did not end within %s", limit)
	}
	return notes.close()
}
