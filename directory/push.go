package directory

import (
	"fmt"
	"time"
)

// PushKind names the interface a push came through (spec/marketplace.md §0).
type PushKind string

// The kit's five interfaces.
const (
	TenantSync      PushKind = "tenantSync"
	ApplicationSync PushKind = "applicationSync"
	AuthSync        PushKind = "authSync"
	SingleOrgSync   PushKind = "singleOrgSync"
	AllOrgSync      PushKind = "allOrgSync"
)

// PushKinds lists the kit's interfaces in the order of the guide.
func PushKinds() []PushKind {
	return []PushKind{TenantSync, ApplicationSync, AuthSync, SingleOrgSync, AllOrgSync}
}

// Flag is what a push asks for.
type Flag int

// The flags of spec/marketplace.md §3. Add and Modify are both upserts.
const (
	FlagDelete Flag = 0
	FlagAdd    Flag = 1
	FlagModify Flag = 2
	FlagCancel Flag = 3 // authSync only: withdraw the authorisation
)

// String returns the flag's name for people.
func (f Flag) String() string {
	switch f {
	case FlagDelete:
		return "delete"
	case FlagAdd:
		return "add"
	case FlagModify:
		return "modify"
	case FlagCancel:
		return "cancel"
	default:
		return fmt.Sprintf("flag(%d)", int(f))
	}
}

// Push is one verified and decoded call of the marketplace.
type Push struct {
	// ID names the push in the journal: a UUIDv7, so IDs sort by arrival.
	ID         string
	Scope      Scope
	Flag       Flag // FlagModify for allOrgSync, which has none
	SourceTime SourceTime
	ReceivedAt time.Time
	// Raw is the body as it arrived. The journal keeps it.
	Raw []byte
	// Note is kept with the push: of one that is no call of the marketplace, who
	// made it and why.
	Note string
	// Payload is one of *TenantPush, *ApplicationPush, *AuthPush,
	// *DepartmentPush and *FullPush.
	Payload Payload
}

// Kind is the interface the push came through.
func (p *Push) Kind() PushKind { return p.Payload.PushKind() }

// Payload is the part of a push that differs by interface.
type Payload interface {
	PushKind() PushKind
}

// TenantPush is the payload of tenantSync.
type TenantPush struct {
	OrderID, Code, Name, DomainName string
}

// ApplicationPush is the payload of applicationSync.
type ApplicationPush struct {
	AppID, ClientID string
	// ClientSecret is RSA-OAEP encrypted and Base64 coded, as it arrived.
	ClientSecret string
	// SealedSecret, Fingerprint and Scheme are what opening ClientSecret gave;
	// the planner's Prepare sets them.
	SealedSecret, Fingerprint []byte
	Scheme                    string
}

// AuthPush is the payload of authSync: one flag for all users of the list.
type AuthPush struct {
	AppID string
	Users []UserItem
}

// UserItem is one member of userList. For FlagDelete and FlagCancel only
// UserName is set.
type UserItem struct {
	UserName, Name, OrgCode, Role string
	Enabled                       bool
	Position, EmployeeCode        string
	EmployeeType                  int // 0 when absent
	Mobile, Email                 string
	WorkPlace, EntryDate          string
}

// DepartmentPush is the payload of singleOrgSync.
type DepartmentPush struct {
	DepartmentItem
}

// DepartmentItem is a department as the marketplace sends it.
type DepartmentItem struct {
	Code, Name, ParentCode string
}

// FullPush is the payload of allOrgSync: every department of the scope, in
// any order until Check has sorted them.
type FullPush struct {
	Departments []DepartmentItem

	// parents is where in the list the parent of each department is, -1 for
	// nowhere; nil until Check has run.
	parents []int32
}

// PushKind implements Payload.
func (*TenantPush) PushKind() PushKind { return TenantSync }

// PushKind implements Payload.
func (*ApplicationPush) PushKind() PushKind { return ApplicationSync }

// PushKind implements Payload.
func (*AuthPush) PushKind() PushKind { return AuthSync }

// PushKind implements Payload.
func (*DepartmentPush) PushKind() PushKind { return SingleOrgSync }

// PushKind implements Payload.
func (*FullPush) PushKind() PushKind { return AllOrgSync }
