package redis

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"math/rand/v2"
	"time"

	"github.com/openkoo/connector/coordination"
)

// maxAnswer bounds what is remembered of an answer, in bytes. The door's own
// are below one KiB; a longer one is given but not remembered.
const maxAnswer = 64 << 10

// nonces remembers answers for all replicas. A nonce whose replica died while
// serving is free again after its lease.
type nonces struct {
	*client
	hub *wakeups
}

// Once implements coordination.Nonces.
func (n *nonces) Once(ctx context.Context, nonce, signature string, ttl time.Duration, serve func() (coordination.Answer, bool)) (coordination.Answer, error) {
	r := &request{nonces: n, id: digest(nonce), signature: digest(signature), holder: n.holder(), ttl: ttl}
	// Heard from before looking, so that an answer in between is not missed.
	var woken <-chan struct{}
	for {
		entry, err := r.enter(ctx)
		switch {
		case err != nil:
			return coordination.Answer{}, err
		case entry.first:
			return r.serve(ctx, serve), nil
		case entry.answered:
			return entry.answer, nil
		}
		if woken == nil {
			var stop func()
			woken, stop = n.hub.Subscribe(r.topic())
			defer stop()
			continue
		}
		if err := pause(ctx, woken, entry.wait); err != nil {
			return coordination.Answer{}, err
		}
	}
}

// request is one call of Once.
type request struct {
	*nonces
	id, signature, holder string
	ttl                   time.Duration
}

// entry is what the memory says of a nonce.
type entry struct {
	first, answered bool
	answer          coordination.Answer
	wait            time.Duration
}

func (r *request) keys() []string { return []string{r.key("nonce", r.id)} }
func (r *request) topic() string  { return "nonce/" + r.id }

func (r *request) enter(ctx context.Context) (entry, error) {
	list, err := r.evalList(ctx, nonceEnter, 1, r.keys(), r.holder, r.signature, micros(r.options.Lease))
	if err != nil {
		return entry{}, err
	}
	switch verdict := list[0]; {
	case verdict == int64(-1):
		return entry{}, coordination.ErrNonceReused
	case verdict == int64(1):
		return entry{first: true}, nil
	case verdict == int64(2) && len(list) == 3:
		code, isCode := list[1].(string)
		body, isBody := list[2].(string)
		if !isCode || !isBody {
			return entry{}, nonceEnter.odd(list)
		}
		return entry{answered: true, answer: coordination.Answer{Code: code, Body: []byte(body)}}, nil
	case verdict == int64(0) && len(list) == 2:
		wait, err := fromMicros(list[1])
		if err != nil {
			return entry{}, nonceEnter.odd(list)
		}
		return entry{wait: wait}, nil
	default:
		return entry{}, nonceEnter.odd(list)
	}
}

// serve makes the answer and remembers it. That it could not be remembered is
// no failure of the call: a repeat has its effect again, which is none.
func (r *request) serve(ctx context.Context, serve func() (coordination.Answer, bool)) (answer coordination.Answer) {
	stop := r.hold(func(ctx context.Context) (bool, error) {
		held, err := r.evalInt(ctx, nonceRenew, r.keys(), r.holder, micros(r.options.Lease))
		return held == 1, err
	}, false, func() {})
	keep := false
	defer func() { // also when serve panics: nobody may wait for the lease
		stop()
		ttl := r.ttl
		if !keep || len(answer.Body) > maxAnswer {
			ttl = 0
		}
		_, err := r.evalInt(context.WithoutCancel(ctx), nonceFinish, r.keys(),
			r.holder, r.signature, micros(ttl), answer.Code, answer.Body, r.channel(), r.hub.message("", r.topic()))
		if err != nil {
			r.options.Logger.Warn("an answer could not be remembered; a repeat of the push is served anew", "error", err)
		}
	}()
	answer, keep = serve()
	return answer
}

func digest(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:])
}

// pollFrom and pollTo bound how long to wait for a wake-up before looking.
const (
	pollFrom = 100 * time.Millisecond
	pollTo   = 200 * time.Millisecond
)

// pause waits to be woken, at most until a time drawn from the poll's bounds,
// or until most when that is positive and sooner.
func pause(ctx context.Context, woken <-chan struct{}, most time.Duration) error {
	wait := pollFrom + rand.N(pollTo-pollFrom)
	if most > 0 {
		wait = min(wait, most)
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-woken:
	case <-timer.C:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	return nil
}
