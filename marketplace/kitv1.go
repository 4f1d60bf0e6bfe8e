package marketplace

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/google/uuid"

	"github.com/openkoo/connector/directory"
)

// KitV1 answers the kit's V1 interfaces: the authToken is in a header, the
// lists are strings, every answer carries Body-Sign (spec/marketplace.md §1.4, §3).
//
// V1 has no nonce. A call that comes again has no second effect all the same:
// its timeStamp is part of the signature and orders it.
type KitV1 struct {
	*desk
	receiver Receiver
	window   time.Duration
}

// NewKitV1 makes the kit's V1 interfaces. window bounds how far timeStamp may
// be from now, 0 for no bound; of debugging calls it bounds nothing
// (spec/marketplace.md §1.4).
func NewKitV1(options Options, window time.Duration, receiver Receiver) (*KitV1, error) {
	d, err := newDesk("kit_v1", "ORGSYNC_KIT_ACCESS_KEYS", options)
	if err != nil {
		return nil, err
	}
	return &KitV1{desk: d, receiver: receiver, window: window}, nil
}

// Register adds the five routes below the base path.
func (k *KitV1) Register(router gin.IRouter) {
	for _, kind := range directory.PushKinds() {
		router.POST(k.options.BasePath+"/produceAPI/"+string(kind), k.handle(true, func(c *gin.Context, x *exchange) []byte {
			x.kind = string(kind)
			return x.refuse(k.serve(c, kind, x)) // nil is success
		}))
	}
}

func (k *KitV1) serve(c *gin.Context, kind directory.PushKind, x *exchange) error {
	body, members, release, err := k.read(c)
	defer release()
	if err != nil {
		return err
	}
	timeStamp := (&form{members: members}).text("timeStamp", 17, mayBeAbsent)
	params := memberParams(members)
	if x.key, err = verifyToken(k.options.Keys, c.GetHeader("authToken"), timeStamp, params, WithoutBlanks(params)); err != nil {
		return err
	}
	if err := cmp.Or(ambiguous(params), foreign(kind, members)); err != nil {
		return err
	}
	push, err := decodeMembers(kind, members, body)
	if err != nil {
		return err
	}
	if push.Flag > directory.FlagAdd && (kind == directory.TenantSync || kind == directory.ApplicationSync) {
		return directory.Invalid("flag", "%d is unknown; want 0 to 1", int(push.Flag))
	}
	if push.Scope.Dataset != directory.Test { // debugging calls are stored, and replayed for as long as the product is on sale
		if err := cmp.Or(checkAge("timeStamp", push.SourceTime.Time(), k.options.Now(), k.window), checkAhead(push, k.options.Now())); err != nil {
			return err
		}
	}
	id, err := uuid.NewV7()
	if err != nil {
		return fmt.Errorf("make push id: %w", err)
	}
	push.ID, push.ReceivedAt = id.String(), k.options.Now()
	x.attrs = []slog.Attr{slog.String("push", push.ID), slog.String("scope", push.Scope.String()), slog.String("flag", push.Flag.String())}
	// The push goes on when the caller hangs up: it has been taken in.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(c.Request.Context()), k.options.AnswerWithin)
	defer cancel()
	result, err := k.receiver.Receive(ctx, push)
	x.attrs = append(x.attrs, slog.String("result", string(result)))
	return err
}

// checkAhead refuses a push that would make stale whatever is said until its
// time has come. V2 counts such a push as of when it came; V1 has no nonce, and
// a replay would be the newest word each time.
func checkAhead(push *directory.Push, now time.Time) error {
	ahead := push.SourceTime.Time().Sub(now)
	if ahead <= farAhead {
		return nil
	}
	return directory.Invalid("timeStamp", "in the future by %s, %s allowed; check the sender's clock", ahead.Round(time.Second), farAhead)
}

// verifyToken finds the key of a V1 call.
func verifyToken(keys []string, token, timeStamp string, forms ...[]Param) (key string, err error) {
	switch {
	case timeStamp == "":
		return "", directory.Invalid("timeStamp", "missing")
	case token == "":
		return "", &unauthenticated{"authToken: missing"}
	}
	key, ok := verifyV1(keys, token, timeStamp, forms...)
	if !ok {
		return "", &unauthenticated{"authToken: does not match; check the access key, and that the sorted parameters are signed with access key + timeStamp"}
	}
	return key, nil
}
