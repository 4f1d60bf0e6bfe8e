package directory

import (
	"maps"
	"net/url"
	"slices"
	"strings"
	"time"
)

// Instance is what a buyer has of the seller's goods (spec/marketplace.md §4),
// keyed (dataset, instanceId). It has no scope: tenants come after it.
type Instance struct {
	Dataset     Dataset `json:"dataset"`
	ID          string  `json:"instanceId"`
	OrderID     string  `json:"orderId"`
	OrderLineID string  `json:"orderLineId,omitempty"`
	ProductID   string  `json:"productId,omitempty"`
	// Details are the other members of the order as they came, nothing personal.
	Details map[string]string `json:"details,omitempty"`
	// SealedContact is the buyer's name, phone and mail address, sealed.
	SealedContact []byte `json:"sealedContact,omitempty"`
	// Provisioned says that the seller's side is ready.
	Provisioned bool `json:"provisioned,omitempty"`
	// App is how the buyer gets in; License goods may have none.
	App *AppInfo `json:"appInfo,omitempty"`
	// NoResource says that the seller has nothing to provision it with for now.
	NoResource bool `json:"noResource,omitempty"`
	Frozen     bool `json:"frozen,omitempty"`
	Released   bool `json:"released,omitempty"`
	// ExpireTime is zero for an instance without an end.
	ExpireTime time.Time `json:"expireTime,omitzero"`
	// StatusTime and ExpiryTime are when the marketplace made the newest call
	// that set Frozen or ExpireTime: an older one changes nothing.
	StatusTime SourceTime `json:"statusTime,omitzero"`
	ExpiryTime SourceTime `json:"expiryTime,omitzero"`
	// Licenses by the marketplace's eventId.
	Licenses map[string]License `json:"licenses,omitempty"`
	// Pending are the events the seller's server has yet to be told, oldest
	// first. They are part of the instance, so that none is lost between two writes.
	Pending []InstanceEvent `json:"pending,omitempty"`
	// Attempts counts the failed attempts to tell the first of them, DueAt is
	// when to try next (zero: nothing waits), LastError why the last one failed.
	Attempts  int       `json:"attempts,omitempty"`
	DueAt     time.Time `json:"dueAt,omitzero"`
	LastError string    `json:"lastError,omitempty"`
	// Standings counts how often the standing has changed, SpreadAt is when the
	// targets are to be told of it (zero: they are).
	Standings int64     `json:"standings,omitempty"`
	SpreadAt  time.Time `json:"spreadAt,omitzero"`
	Version   int64     `json:"version"`
	CreatedAt time.Time `json:"createdAt"`
	ChangedAt time.Time `json:"changedAt"` // the store sets it
}

// AppInfo is how a buyer gets in (spec/marketplace.md §4).
type AppInfo struct {
	FrontEndURL    string `json:"frontEndUrl"`
	AdminURL       string `json:"adminUrl,omitempty"`
	UserName       string `json:"userName,omitempty"`
	SealedPassword []byte `json:"sealedPassword,omitempty"`
	Memo           string `json:"memo,omitempty"`
}

// License is what one eventId asked for, and got: SealedText is empty until
// the License is there.
type License struct {
	EffectiveTime     string `json:"effectiveTime,omitempty"`
	ExpireTime        string `json:"expireTime,omitempty"`
	DeviceFingerprint string `json:"deviceFingerprint,omitempty"`
	SealedText        []byte `json:"sealedText,omitempty"`
}

// InstanceState is where an instance stands, the first that holds.
type InstanceState string

// The states of an instance.
const (
	InstanceReleased     InstanceState = "released"
	InstanceProvisioning InstanceState = "provisioning"
	InstanceFrozen       InstanceState = "frozen"
	InstanceExpired      InstanceState = "expired"
	InstanceActive       InstanceState = "active"
)

// State is where the instance stands at a moment.
func (i *Instance) State(now time.Time) InstanceState {
	switch {
	case i.Released:
		return InstanceReleased
	case !i.Provisioned:
		return InstanceProvisioning
	case i.Frozen:
		return InstanceFrozen
	case !i.ExpireTime.IsZero() && !now.Before(i.ExpireTime):
		return InstanceExpired
	default:
		return InstanceActive
	}
}

// Standing is what the targets go by: whether the instance's users may be in.
type Standing string

// The standings. An instance nobody knows of is in good standing.
const (
	GoodStanding     Standing = ""
	StandingFrozen   Standing = "frozen"
	StandingReleased Standing = "released"
)

// Standing is how the instance stands. That it has expired is between buyer and
// marketplace, which freezes or releases it in due course.
func (i *Instance) Standing() Standing {
	switch {
	case i.Released:
		return StandingReleased
	case i.Frozen:
		return StandingFrozen
	default:
		return GoodStanding
	}
}

// NextDue is when something is due next, zero if nothing waits.
func (i *Instance) NextDue() time.Time {
	if i.DueAt.IsZero() || (!i.SpreadAt.IsZero() && i.SpreadAt.Before(i.DueAt)) {
		return i.SpreadAt
	}
	return i.DueAt
}

// Spread notes that the targets have been told of the standing it had then, and
// reports whether there is no newer one.
func (i *Instance) Spread(standings int64) bool {
	if i.Standings != standings {
		return false
	}
	i.SpreadAt = time.Time{}
	return true
}

// Exists reports whether calls find the instance: a released one they do not.
// Debugging calls do, for the marketplace replays those that succeeded, in any
// order, and all must go on succeeding (spec/marketplace.md §0).
func (i *Instance) Exists() bool { return !i.Released || i.Dataset == Test }

// EventType says what happened to an instance.
type EventType string

// What the seller's server is told.
const (
	EventCreated  EventType = "instance.created"
	EventRenewed  EventType = "instance.renewed"
	EventExpired  EventType = "instance.expired"
	EventFrozen   EventType = "instance.frozen"
	EventResumed  EventType = "instance.resumed"
	EventUpgraded EventType = "instance.upgraded"
	EventReleased EventType = "instance.released"
	EventLicense  EventType = "license.requested"
)

// InstanceEvent is one change that the seller's server is to be told. The
// receiver knows a repeat by its ID.
type InstanceEvent struct {
	ID   string    `json:"id"`
	Type EventType `json:"type"`
	At   time.Time `json:"at"`
	// Members are those of the call: scene, orderId, eventId and the like.
	Members map[string]string `json:"members,omitempty"`
}

// Activity is what a call of the base interface asks for. The two generations
// name some differently; these are V2's names, and V1's where V2 has none.
type Activity string

// The activities (spec/marketplace.md §4, §5).
const (
	NewInstance          Activity = "newInstance"
	QueryInstance        Activity = "queryInstance"
	RefreshInstance      Activity = "refreshInstance"
	UpdateInstanceStatus Activity = "updateInstanceStatus"
	ReleaseInstance      Activity = "releaseInstance"
	UpgradeInstance      Activity = "upgradeInstance"
	GetLicense           Activity = "getLicenseAsync"
	ExpireInstance       Activity = "expireInstance" // V1 only
)

// InstanceCall is one verified and decoded call of the base interface.
type InstanceCall struct {
	// EventID names the events that the call may cause: a UUIDv7.
	EventID     string
	Activity    Activity
	Dataset     Dataset
	InstanceIDs []string // queryInstance: all that are asked for; others: one
	OrderID     string
	OrderLineID string
	ProductID   string
	BusinessID  string
	Scene       string
	Freeze      bool
	// ExpireTime, or Years, Months and Days to add to what is left (V1).
	ExpireTime          time.Time
	Years, Months, Days int
	// LicenseEvent is the marketplace's eventId; License what is asked for.
	LicenseEvent string
	License      License
	SourceTime   SourceTime
	// Details are members for the seller's server; Contact those that are personal.
	Details map[string]string
	Contact map[string]string
}

// InstanceID is the one instance the call is about.
func (c *InstanceCall) InstanceID() string {
	if len(c.InstanceIDs) == 0 {
		return ""
	}
	return c.InstanceIDs[0]
}

// OrderKeys names what a new instance is found by again: its order line, and
// for on-demand goods, which come with a productId, order and product
// (spec/marketplace.md §4).
func (c *InstanceCall) OrderKeys() []string {
	var keys []string
	if c.OrderLineID != "" {
		keys = append(keys, joinKey("new", "line", c.OrderID, c.OrderLineID))
	}
	if c.ProductID != "" || c.OrderLineID == "" {
		keys = append(keys, joinKey("new", "product", c.OrderID, c.ProductID))
	}
	return keys
}

// OrderKey names the order of a call that changes an instance, empty if it has
// none. Each activity and scene counts its orders apart: unsubscribing from a
// renewal may name the renewal's order.
func (c *InstanceCall) OrderKey() string {
	if c.OrderID == "" {
		return ""
	}
	switch c.Activity {
	case RefreshInstance, UpgradeInstance:
		return joinKey(string(c.Activity), c.Scene, c.OrderID, c.OrderLineID)
	default:
		return ""
	}
}

func joinKey(parts ...string) string {
	for i := range parts {
		parts[i] = url.PathEscape(parts[i])
	}
	return strings.Join(parts, "/")
}

// PlanNewInstance is the instance that a newInstance makes, named by its
// businessId, with the event that tells of it. V1's getLicense may ask for the
// instance and its License at once.
func PlanNewInstance(call *InstanceCall, now time.Time) Instance {
	i := Instance{
		Dataset: call.Dataset, ID: call.BusinessID, OrderID: call.OrderID, OrderLineID: call.OrderLineID,
		ProductID: call.ProductID, Details: call.Details, ExpireTime: call.ExpireTime, Version: 1, CreatedAt: now,
	}
	i.tell(call, EventCreated, now)
	if call.LicenseEvent != "" {
		i.Licenses = map[string]License{call.LicenseEvent: call.License}
		i.tell(call, EventLicense, now)
	}
	return i
}

// PlanInstance applies a call to an instance that exists; repeat says that the
// call's order was applied before. It reports whether anything changed: a
// repeat, and a call older than what is stored, change nothing and succeed.
func PlanInstance(i *Instance, call *InstanceCall, repeat bool, now time.Time) (changed bool, err error) {
	before := i.Standing()
	changed, err = i.plan(call, repeat, now)
	if i.Standing() != before {
		i.Standings++
		i.SpreadAt = now
	}
	return changed, err
}

func (i *Instance) plan(call *InstanceCall, repeat bool, now time.Time) (changed bool, err error) {
	if call.Activity == ReleaseInstance && i.Released {
		return false, nil
	}
	if !i.Exists() {
		return false, ErrUnknownInstance
	}
	if repeat {
		return false, nil
	}
	switch call.Activity {
	case NewInstance:
		return i.revive(call, now), nil
	case RefreshInstance:
		return i.refresh(call, now), nil
	case ExpireInstance:
		return i.expire(call, now), nil
	case UpdateInstanceStatus:
		return i.setFrozen(call, now), nil
	case ReleaseInstance:
		i.Released = true
		// What has not been told yet no longer matters, but that it is gone does.
		i.Pending = nil
		i.tell(call, EventReleased, now)
		return true, nil
	case UpgradeInstance:
		i.tell(call, EventUpgraded, now)
		return true, nil
	case GetLicense:
		return i.requestLicense(call, now)
	default:
		return false, Invalid("activity", "%q does not change an instance", call.Activity)
	}
}

// revive makes a released debugging instance live again, provisioned anew.
func (i *Instance) revive(call *InstanceCall, now time.Time) bool {
	if !i.Released {
		return false
	}
	i.Released, i.Frozen = false, false
	i.tell(call, EventCreated, now)
	return true
}

func (i *Instance) refresh(call *InstanceCall, now time.Time) bool {
	until := call.ExpireTime
	if until.IsZero() { // a period that was paid for is added however late it comes
		from := i.ExpireTime
		if from.Before(now) {
			from = now
		}
		until = from.AddDate(call.Years, call.Months, call.Days)
	} else if call.SourceTime < i.ExpiryTime {
		return false
	}
	same := until.Equal(i.ExpireTime) && call.OrderID == ""
	i.ExpireTime, i.ExpiryTime = until.UTC(), max(i.ExpiryTime, call.SourceTime)
	if !same {
		i.tell(call, EventRenewed, now)
	}
	return true
}

func (i *Instance) expire(call *InstanceCall, now time.Time) bool {
	if call.SourceTime < i.ExpiryTime {
		return false
	}
	i.ExpiryTime = call.SourceTime
	if !i.ExpireTime.IsZero() && !i.ExpireTime.After(now) {
		return true // it has ended; only the time of the call moves on
	}
	i.ExpireTime = now.UTC()
	i.tell(call, EventExpired, now)
	return true
}

func (i *Instance) setFrozen(call *InstanceCall, now time.Time) bool {
	if call.SourceTime < i.StatusTime {
		return false
	}
	i.StatusTime = call.SourceTime
	if i.Frozen == call.Freeze {
		return true
	}
	i.Frozen = call.Freeze
	if call.Freeze {
		i.tell(call, EventFrozen, now)
	} else {
		i.tell(call, EventResumed, now)
	}
	return true
}

// maxLicenses bounds the Licenses of one instance.
const maxLicenses = 1000

// requestLicense notes what one eventId asks for, once: the same event gets
// the same License.
func (i *Instance) requestLicense(call *InstanceCall, now time.Time) (bool, error) {
	if _, known := i.Licenses[call.LicenseEvent]; known {
		return false, nil
	}
	if len(i.Licenses) >= maxLicenses {
		return false, Invalid("eventId", "the instance has %d Licenses: no more are kept", maxLicenses)
	}
	if i.Licenses == nil {
		i.Licenses = make(map[string]License, 1)
	}
	i.Licenses[call.LicenseEvent] = call.License
	i.tell(call, EventLicense, now)
	return true, nil
}

// tell adds an event to those the seller's server has yet to be told.
func (i *Instance) tell(call *InstanceCall, what EventType, now time.Time) {
	event := InstanceEvent{ID: call.EventID + "." + string(what), Type: what, At: now.UTC(), Members: make(map[string]string)}
	for name, text := range map[string]string{
		"scene": call.Scene, "orderId": call.OrderID, "orderLineId": call.OrderLineID, "productId": call.ProductID,
		"eventId": call.LicenseEvent, "effectiveTime": call.License.EffectiveTime, "expireTime": call.License.ExpireTime,
		"deviceFingerprint": call.License.DeviceFingerprint,
	} {
		if text != "" {
			event.Members[name] = text
		}
	}
	if what != EventCreated {
		maps.Copy(event.Members, call.Details)
	}
	i.Pending = append(i.Pending, event)
	if i.DueAt.IsZero() || len(i.Pending) == 1 {
		i.DueAt, i.Attempts, i.LastError = now, 0, ""
	}
}

// Told removes an event that needs no more telling. The next is due at once.
func (i *Instance) Told(eventID string, now time.Time) bool {
	at := slices.IndexFunc(i.Pending, func(e InstanceEvent) bool { return e.ID == eventID })
	if at < 0 {
		return false
	}
	i.Pending = slices.Delete(i.Pending, at, at+1)
	i.Attempts, i.LastError, i.DueAt = 0, "", time.Time{}
	if len(i.Pending) > 0 {
		i.DueAt = now
	}
	return true
}

// OpenAppInfo is an AppInfo with its password opened, for an answer.
type OpenAppInfo struct {
	FrontEndURL, AdminURL, UserName, Password, Memo string
}

// InstanceInfo is what queryInstance says of one instance; App is nil while
// there is none.
type InstanceInfo struct {
	InstanceID string
	App        *OpenAppInfo
}

// InstanceAnswer is what came of a call of the base interface.
type InstanceAnswer struct {
	InstanceID string
	// Processing says that it goes on: 000004. NoResource: 000100.
	Processing, NoResource bool
	App                    *OpenAppInfo
	License                string
	// Info and Unknown answer queryInstance.
	Info    []InstanceInfo
	Unknown []string
}

// LicenseEvents lists the events a License was asked for under, sorted.
func (i *Instance) LicenseEvents() []string {
	return slices.Sorted(maps.Keys(i.Licenses))
}
