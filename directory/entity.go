package directory

import "time"

// Meta is what every stored entity carries beside its members.
type Meta struct {
	// Version counts the entity's changes from 1; a planner sets it to the
	// stored version plus one.
	Version int64 `json:"version"`
	// Seq is the entity's place in the change feed. The store sets it once the
	// change is committed, at the latest when the feed is read (0 until then); a
	// later change moves the entity to the feed's end.
	Seq int64 `json:"seq"`
	// SourceTime is the timeStamp of the newest push that set the entity.
	SourceTime SourceTime `json:"sourceTime"`
	// Deleted marks a tombstone: the entity is gone, its time is kept so that
	// a late push cannot bring it back.
	Deleted bool `json:"deleted,omitempty"`
	// ChangedAt is when this store committed the change; the store sets it.
	ChangedAt time.Time `json:"changedAt"`
}

// Tenant is an enterprise (spec/marketplace.md §3.1), one in each scope.
type Tenant struct {
	OrderID    string `json:"orderId"`
	Code       string `json:"tenantCode"`
	Name       string `json:"name"`
	DomainName string `json:"domainName"`
	Meta
}

// Department is a node of the tenant's tree (spec/marketplace.md §3.4),
// keyed by Code.
type Department struct {
	Code       string `json:"orgCode"`
	Name       string `json:"orgName"`
	ParentCode string `json:"parentCode"`
	// ParentMissing says that ParentCode cannot be followed: the parent is not
	// (yet, or no longer) known, or following it would close a cycle. The
	// department then hangs at the root until the parent comes.
	ParentMissing bool `json:"parentMissing,omitempty"`
	Meta
}

// AttachedTo is the code of the department d hangs under, empty at the root.
func (d *Department) AttachedTo() string {
	if d.ParentMissing {
		return ""
	}
	return d.ParentCode
}

// User is an account (spec/marketplace.md §3.3), keyed by UserName.
type User struct {
	UserName     string `json:"userName"`
	Name         string `json:"name"`
	OrgCode      string `json:"orgCode"`
	Role         string `json:"role"`
	Enabled      bool   `json:"enable"`
	Position     string `json:"position,omitempty"`
	EmployeeCode string `json:"employeeCode,omitempty"`
	EmployeeType int    `json:"employeeType,omitempty"`
	Mobile       string `json:"mobile,omitempty"`
	Email        string `json:"email,omitempty"`
	WorkPlace    string `json:"workPlace,omitempty"`
	EntryDate    string `json:"entryDate,omitempty"`
	// Grants are the user's authorisations by appId, withdrawn ones included:
	// they are the tombstones that keep a late add from granting again.
	Grants map[string]Grant `json:"grants,omitempty"`
	// DeletedAt is the time of the newest deletion of the account, also after
	// it lives again: no grant from before it counts.
	DeletedAt SourceTime `json:"deletedAt,omitzero"`
	Meta
}

// Grant is the authorisation of one user for one application, keyed
// (scope, appId, userName) and kept inside the user.
type Grant struct {
	SourceTime SourceTime `json:"sourceTime"`
	Revoked    bool       `json:"revoked,omitempty"`
}

// Granted reports whether at least one application is granted to u.
func (u *User) Granted() bool {
	for _, g := range u.Grants {
		if !g.Revoked {
			return true
		}
	}
	return false
}

// Active reports whether u may sign in: the account exists, is enabled, and
// holds a grant.
func (u *User) Active() bool { return !u.Deleted && u.Enabled && u.Granted() }

// Application is an application credential (spec/marketplace.md §3.2), keyed
// by AppID.
type Application struct {
	AppID    string `json:"appId"`
	ClientID string `json:"clientId"`
	// SealedSecret is the client secret encrypted at rest. No API shows it.
	SealedSecret []byte `json:"-"`
	// SecretFingerprint tells whether two secrets are equal without opening
	// them: a keyed hash, useless without the key.
	SecretFingerprint []byte `json:"-"`
	// SecretScheme is the RSA-OAEP variant the marketplace's secret opened with.
	SecretScheme string `json:"secretScheme"`
	Meta
}

// State is what a store keeps of a scope as a whole.
type State struct {
	Scope Scope `json:"scope"`
	// FullTime is the source time of the newest full push that was applied:
	// nothing older than it can change a department of the scope.
	FullTime SourceTime `json:"fullTime"`
	// FullDigest is Plan.FullDigest of the newest full push, nil as soon as
	// any other push has changed a department.
	FullDigest []byte `json:"-"`
	// Departments, Users and Applications count the living; ParentMissing the
	// departments that wait for their parent.
	Departments   int `json:"departments"`
	ParentMissing int `json:"parentMissing"`
	Users         int `json:"users"`
	Applications  int `json:"applications"`
	// Seq is the largest Seq of the scope's entities.
	Seq int64 `json:"seq"`
	// Hold is the deletions that wait for a decision, nil for none.
	Hold *Hold `json:"hold,omitempty"`
	// LastFull and LastIncremental name the newest pushes of either sort.
	LastFull        *PushMark `json:"lastFull,omitempty"`
	LastIncremental *PushMark `json:"lastIncremental,omitempty"`
}

// PushMark is a short note of a push.
type PushMark struct {
	ID         string     `json:"id"`
	Kind       PushKind   `json:"kind"`
	Result     Result     `json:"result"`
	SourceTime SourceTime `json:"sourceTime"`
	ReceivedAt time.Time  `json:"receivedAt"`
}
