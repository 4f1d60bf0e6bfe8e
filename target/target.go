// Package target is the connector port: what the fan-out asks of a downstream
// identity provider, and the classes of failure a provider can answer with.
//
// A connector translates; it keeps no state of its own about what was
// delivered. target/targettest holds every connector to the port's laws.
package target

import (
	"context"
	"time"

	"github.com/openkoo/connector/directory"
)

// Connector speaks to one downstream identity provider. Its methods may be
// called from many goroutines. Every call is bounded in time and in what it
// reads, ends when its context ends, and fails with an *Error.
type Connector interface {
	// Describe reads what the target can do and checks that it answers and
	// lets us in. The fan-out calls it before the first delivery, and as the
	// probe of a target that is down.
	Describe(ctx context.Context) (Capabilities, error)

	// PutDepartment brings a department to the target and returns its remote
	// id. With no RemoteID it creates; if it is Uncertain it looks for it by
	// ExternalID first. An object found that way counts only if its external
	// id equals what was asked for. A RemoteID the target no longer knows
	// means create anew.
	PutDepartment(ctx context.Context, department Department) (remoteID string, err error)

	// DeleteDepartment removes a department; one that is gone is success.
	DeleteDepartment(ctx context.Context, object Object) error

	// PutUser brings an account to the target and returns its remote id, by
	// the same rules as PutDepartment.
	PutUser(ctx context.Context, user User) (remoteID string, err error)

	// DeleteUser removes an account; one that is gone is success.
	DeleteUser(ctx context.Context, object Object) error

	// ChangeMembers adds members to a department's group and removes others,
	// at most Capabilities.MembersPerChange together. A member that is there
	// already, or gone already, is success.
	ChangeMembers(ctx context.Context, group Object, change MemberChange) error

	// Close releases the connector's connections.
	Close() error
}

// Capabilities is what a target can do.
type Capabilities struct {
	// ParentByMembership says that the tree is kept by making a department's
	// group a member of its parent's: the fan-out then sends placements, and
	// PutDepartment ignores ParentRemoteID.
	ParentByMembership bool
	// NativeParent says that PutDepartment places the department under
	// ParentRemoteID, so a parent must be delivered before its children.
	NativeParent bool
	// NoDepartments says that departments are no objects of their own at the
	// target: what there is of them, accounts tell.
	NoDepartments bool
	// Memberships says that ChangeMembers works at all.
	Memberships bool
	// MembersPerChange bounds one ChangeMembers; at least 1 with Memberships.
	MembersPerChange int
	// Gathers is how many calls under way at once the connector can bring into
	// one request; 0 for one request a call. The fan-out then has that many
	// under way, and the connector bounds its requests itself.
	Gathers int
}

// Object names something at the target.
type Object struct {
	// ExternalID is our name for it: directory.Scope.ExternalID.
	ExternalID string
	// RemoteID is the target's name for it, empty when it is not known.
	RemoteID string
	// Uncertain means that an earlier attempt may have created it.
	Uncertain bool
	// Origin is where the object comes from. It is no part of what the target
	// is to have, so a change of it alone sends nothing.
	Origin Origin `json:"-"`
}

// Origin is where an object comes from in the directory.
type Origin struct {
	Scope directory.Scope
	// Key is the orgCode or userName.
	Key string
	// Version counts the entity's changes.
	Version int64
	// Mark counts how often the object became due at this target. It stays the
	// same over the attempts of one delivery, and grows with the next one.
	Mark int64
	// ChangedAt is when the entity last changed.
	ChangedAt time.Time
}

// Department is a department as a target is to have it.
type Department struct {
	Object
	Code string
	Name string
	// ParentCode and ParentRemoteID are empty at the root, and wherever the
	// target does not keep the tree itself (Capabilities.NativeParent).
	ParentCode     string `json:",omitempty"`
	ParentRemoteID string
	// Mapped are attributes that the configuration maps, in place of what the
	// connector would make of them.
	Mapped []Mapped `json:",omitempty"`
	// Omit are attributes of Error.Attributes to leave as they are at the target,
	// which has refused them.
	Omit []string `json:",omitempty"`
}

// User is an account as a target is to have it.
type User struct {
	Object
	// UserName is the sign-in name at the target, unique there.
	UserName string
	// AccountName is the bare userName of the marketplace.
	AccountName    string
	DisplayName    string
	Active         bool
	Role           string
	Title          string
	EmployeeNumber string
	EmployeeType   string
	DepartmentCode string
	DepartmentName string
	Organization   string // the tenant's name
	Mobile         string
	Email          string
	WorkPlace      string
	EntryDate      string
	// Mapped are attributes that the configuration maps, in place of what the
	// connector would make of them.
	Mapped []Mapped `json:",omitempty"`
	// Omit are attributes of Error.Attributes to leave as they are at the target,
	// which has refused them.
	Omit []string `json:",omitempty"`
}

// Mapped is one attribute by its name at the target, by ascending name. Value
// is nil if the target is not to have it, and otherwise a string, a bool, an
// int, a float64, or a list ([]any) of strings, bools and numbers.
type Mapped struct {
	Name  string
	Value any
}

// MemberKind tells the members of a group apart.
type MemberKind uint8

// The kinds of member.
const (
	MemberUser MemberKind = iota
	MemberDepartment
)

// Member is a member of a department's group.
type Member struct {
	Kind     MemberKind
	RemoteID string
}

// MemberChange is one change of a group's members.
type MemberChange struct {
	Add, Remove []Member
}
