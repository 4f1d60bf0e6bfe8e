package marketplace

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/openkoo/connector/directory"
)

const (
	maxID         = 64  // characters of an id
	maxDetail     = 255 // characters of a member that is only passed on
	maxInstances  = 100 // ids in one query (spec/marketplace.md §4)
	maxPeriods    = 1000
	maxCiphertext = 1024
)

// decodeCall reads a V2 base call (spec/marketplace.md §4) that was made at sent.
func decodeCall(f *form, sent time.Time) (*directory.InstanceCall, error) {
	call := beginCall(f, sent)
	call.Activity = directory.Activity(f.text("activity", 64, mustBeFilled))
	switch call.Activity {
	case directory.NewInstance:
		decodeNew(f, call, mustBeFilled)
		f.details(call, "skuCode", "customerId", "amount", "chargingMode")
	case directory.QueryInstance:
		call.InstanceIDs = f.instanceIDs()
	case directory.RefreshInstance:
		call.Scene = f.oneOfTexts("scene", "TRIAL_TO_FORMAL", "RENEWAL", "UNSUBSCRIBE_RENEWAL_PERIOD", "RENEWAL_CHANGE")
		f.order(call, mustBeFilled, mustBeFilled)
		call.ProductID = f.loose("productId", maxID)
		call.ExpireTime = f.utc("expireTime", mustBeFilled)
	case directory.UpdateInstanceStatus:
		call.InstanceIDs = f.instanceID()
		call.Freeze = f.oneOfTexts("status", "FREEZE", "UNFREEZE") == "FREEZE"
	case directory.ReleaseInstance:
		f.order(call, mayBeAbsent, mayBeAbsent)
	case directory.UpgradeInstance:
		f.order(call, mustBeFilled, mustBeFilled)
		call.ProductID = f.loose("productId", maxID)
		f.details(call, "skuCode", "amount")
	case directory.GetLicense:
		call.InstanceIDs = f.instanceID()
		decodeLicense(f, call, mustBeFilled)
	default:
		f.fail("activity", fmt.Sprintf("%q is unknown", call.Activity))
	}
	return call, f.fault()
}

func beginCall(f *form, sent time.Time) *directory.InstanceCall {
	call := &directory.InstanceCall{Dataset: directory.Prod, SourceTime: directory.SourceTimeOf(sent)}
	if f.has("testFlag") && f.loose("testFlag", 2) != "" && f.oneOf("testFlag", 0, 1) == 1 {
		call.Dataset = directory.Test
	}
	return call
}

func decodeNew(f *form, call *directory.InstanceCall, line presence) {
	call.OrderID = f.text("orderId", maxID, mustBeFilled)
	call.OrderLineID = f.text("orderLineId", maxID, line)
	call.BusinessID = f.text("businessId", maxID, mustBeFilled)
	call.ProductID = f.loose("productId", maxID)
	call.ExpireTime = f.utc("expireTime", mayBeAbsent)
	if strings.Contains(call.BusinessID, ",") {
		f.fail("businessId", "holds a comma: as an instanceId it could not be queried")
	}
}

func decodeLicense(f *form, call *directory.InstanceCall, event presence) {
	call.LicenseEvent = f.text("eventId", maxID, event)
	call.License.EffectiveTime = f.text("effectiveTime", 32, event)
	call.License.ExpireTime = f.text("expireTime", 32, mayBeAbsent)
	call.License.DeviceFingerprint = f.text("deviceFingerprint", 1024, mayBeAbsent)
}

// decodeCallV1 reads a V1 base call (spec/marketplace.md §5) made at sent and
// verified with key. It also says how sensitive members are encrypted.
func decodeCallV1(f *form, key string, sent time.Time) (*directory.InstanceCall, EncryptType, error) {
	how := AES256
	if f.loose("encryptType", 2) != "" {
		how = EncryptType(f.oneOf("encryptType", int(AES256), int(AES128)))
	}
	call := beginCall(f, sent)
	switch activity := f.text("activity", 64, mustBeFilled); activity {
	case "newInstance":
		call.Activity = directory.NewInstance
		f.text("customerId", 100, mustBeFilled)
		decodeNewV1(f, call, key, how)
	case "getLicense":
		decodeGetLicenseV1(f, call, key, how)
	case "refreshInstance", "refreshLicense":
		call.Activity = directory.RefreshInstance
		decodeRefreshV1(f, call)
	case "expireInstance", "expireLicense":
		call.Activity = directory.ExpireInstance
		call.InstanceIDs = f.instanceID()
	case "releaseInstance", "releaseLicense":
		call.Activity = directory.ReleaseInstance
		f.order(call, mayBeAbsent, mayBeAbsent)
	case "upgrade":
		call.Activity = directory.UpgradeInstance
		f.order(call, mustBeFilled, mayBeAbsent)
		call.ProductID = f.loose("productId", maxID)
		f.details(call, "skuCode", "amount", "diskSize", "bandWidth")
		f.longDetails(call, "saasExtendParams")
	case "instanceStatus":
		call.Activity = directory.UpdateInstanceStatus
		call.InstanceIDs = f.instanceID()
		call.Freeze = f.oneOfTexts("instanceStatus", "FREEZE", "NORMAL") == "FREEZE"
	case "queryInstance":
		call.Activity = directory.QueryInstance
		call.InstanceIDs = f.instanceIDs()
	default:
		f.fail("activity", fmt.Sprintf("%q is unknown", activity))
	}
	return call, how, f.fault()
}

func decodeNewV1(f *form, call *directory.InstanceCall, key string, how EncryptType) {
	decodeNew(f, call, mayBeAbsent)
	f.details(call, "customerId", "userId", "skuCode", "trialFlag", "amount", "diskSize", "bandWidth", "chargingMode", "periodType", "periodNumber")
	f.longDetails(call, "saasExtendParams")
	call.Contact = make(map[string]string)
	for _, name := range []string{"customerName", "userName"} {
		if text := f.text(name, maxDetail, mayBeAbsent); text != "" {
			call.Contact[name] = text
		}
	}
	for _, name := range []string{"mobilePhone", "email"} {
		if sealed := f.text(name, maxCiphertext, mayBeAbsent); sealed != "" {
			text, err := DecryptSensitive(key, withPlus(sealed), how)
			if err != nil {
				f.fail(name, err.Error())
			}
			call.Contact[name] = text
		}
	}
}

// decodeGetLicenseV1 takes the License of an instance that exists, or, without
// instanceId, an order for instance and License at once.
func decodeGetLicenseV1(f *form, call *directory.InstanceCall, key string, how EncryptType) {
	if f.loose("instanceId", maxID) != "" {
		call.Activity = directory.GetLicense
		call.InstanceIDs = f.instanceID()
	} else {
		call.Activity = directory.NewInstance
		decodeNewV1(f, call, key, how)
	}
	decodeLicense(f, call, mayBeAbsent)
	if call.LicenseEvent == "" {
		call.LicenseEvent = f.text("orderId", maxID, mustBeFilled)
	}
}

func decodeRefreshV1(f *form, call *directory.InstanceCall) {
	f.order(call, mayBeAbsent, mayBeAbsent)
	call.ProductID = f.loose("productId", maxID)
	call.Scene = "RENEWAL"
	if f.loose("trialToFormal", 8) == "1" {
		call.Scene = "TRIAL_TO_FORMAL"
	}
	if call.ExpireTime = f.utc("expireTime", mayBeAbsent); !call.ExpireTime.IsZero() || f.err != nil {
		return
	}
	if f.loose("periodType", 16) == "" {
		f.fail("expireTime", "missing, and periodType too")
		return
	}
	number := f.oneOf("periodNumber", 1, maxPeriods)
	switch unit := strings.ToLower(f.loose("periodType", 16)); unit {
	case "year":
		call.Years = number
	case "month":
		call.Months = number
	case "day":
		call.Days = number
	default:
		f.fail("periodType", fmt.Sprintf("%q is unknown; want year, month or day", unit))
	}
	if call.OrderID == "" {
		f.fail("orderId", "missing: a period is added once for each order")
	}
}

// paramForm makes the parameters of a URL readable as members.
func paramForm(params []Param) *form {
	f := &form{members: make([]member, 0, len(params))}
	for _, p := range params {
		f.members = append(f.members, member{name: p.Name, value: value{`"` + strings.ReplaceAll(p.Value, `\`, `\\`) + `"`}})
	}
	return f
}

// fault is the form's first error.
func (f *form) fault() error {
	if f.err == nil {
		return nil // not a nil of another type
	}
	return f.err
}

// loose reads an optional member given as a string, a number or a boolean.
func (f *form) loose(name string, most int) string {
	switch v, _ := f.find(name); v.kind() {
	case '0', 't', 'f':
		if len(v.text) > most {
			f.fail(name, "longer than "+strconv.Itoa(most))
		}
		return v.text
	default:
		return f.text(name, most, mayBeAbsent)
	}
}

// details passes members on to the seller.
func (f *form) details(call *directory.InstanceCall, names ...string) {
	f.pass(call, maxDetail, names)
}

func (f *form) longDetails(call *directory.InstanceCall, names ...string) {
	f.pass(call, 4096, names)
}

func (f *form) pass(call *directory.InstanceCall, most int, names []string) {
	for _, name := range names {
		if text := f.loose(name, most); text != "" {
			if call.Details == nil {
				call.Details = make(map[string]string, len(names))
			}
			call.Details[name] = text
		}
	}
}

func (f *form) order(call *directory.InstanceCall, order, line presence) {
	call.InstanceIDs = f.instanceID()
	call.OrderID = f.text("orderId", maxID, order)
	call.OrderLineID = f.text("orderLineId", maxID, line)
}

func (f *form) instanceID() []string { return []string{f.text("instanceId", maxID, mustBeFilled)} }

// instanceIDs reads up to 100 ids separated by commas.
func (f *form) instanceIDs() []string {
	text := f.text("instanceId", maxInstances*(maxID+1), mustBeFilled)
	ids := strings.Split(text, ",")
	if len(ids) > maxInstances {
		f.fail("instanceId", fmt.Sprintf("%d ids: more than %d", len(ids), maxInstances))
	}
	for i := range ids {
		if ids[i] = strings.TrimSpace(ids[i]); ids[i] == "" {
			f.fail("instanceId", "an id is empty")
		} else if len([]rune(ids[i])) > maxID {
			f.fail("instanceId", fmt.Sprintf("an id is longer than %d", maxID))
		}
	}
	return ids
}

func (f *form) oneOfTexts(name string, allowed ...string) string {
	text := f.text(name, 64, mustBeFilled)
	if f.err == nil {
		if slices.Contains(allowed, text) {
			return text
		}
		f.fail(name, fmt.Sprintf("%q is unknown; want %s", text, strings.Join(allowed, ", ")))
	}
	return text
}

// utc reads yyyyMMddHHmmss, with or without milliseconds, in UTC.
func (f *form) utc(name string, must presence) time.Time {
	text := f.text(name, 17, must)
	if f.err != nil || text == "" {
		return time.Time{}
	}
	full := text
	if len(full) == 14 {
		full += "000"
	}
	at, err := directory.ParseSourceTime(full, time.UTC)
	if err != nil {
		f.fail(name, "want yyyyMMddHHmmss or yyyyMMddHHmmssSSS in UTC")
		return time.Time{}
	}
	return at.Time()
}
