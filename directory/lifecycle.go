package directory

import (
	"maps"
	"slices"
	"time"
)

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

// lastTime is the last one that can be written and read back.
var lastTime = time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC)

func (i *Instance) refresh(call *InstanceCall, now time.Time) bool {
	until := call.ExpireTime
	if until.IsZero() { // a period that was paid for is added however late it comes
		from := i.ExpireTime
		if from.Before(now) {
			from = now
		}
		until = from.AddDate(call.Years, call.Months, call.Days)
		if until.After(lastTime) {
			until = lastTime
		}
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
