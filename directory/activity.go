package directory

import (
	"net/url"
	"strings"
	"time"
)

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
