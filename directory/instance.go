package directory

import (
	"maps"
	"slices"
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

// LicenseEvents lists the events a License was asked for under, sorted.
func (i *Instance) LicenseEvents() []string {
	return slices.Sorted(maps.Keys(i.Licenses))
}
