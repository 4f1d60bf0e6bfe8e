package webhook

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"time"

	"github.com/openkoo/connector/target"
)

// Type is the type of a message.
type Type string

// The types of message.
const (
	Ping               Type = "ping" // a probe: answer with success, do nothing
	DepartmentUpserted Type = "department.upserted"
	DepartmentDeleted  Type = "department.deleted"
	UserUpserted       Type = "user.upserted"
	UserDeleted        Type = "user.deleted"
)

// Message is the body of a request.
type Message struct {
	Type Type `json:"type"`
	// Timestamp is when the entity changed, not when it was sent.
	Timestamp time.Time `json:"timestamp"`
	Data      Data      `json:"data"`
}

// Data is the entity after the change. A deletion has neither Department nor
// User.
type Data struct {
	// ExternalID names the entity, unique over all scopes; it is also the remote
	// id in the status API.
	ExternalID string `json:"externalId"`
	// Version grows with every change of the entity. Of two messages about one
	// entity the one of the higher version is the newer.
	Version int64 `json:"version"`
	// Revision orders messages of one version: something that the entity shows
	// of another one changed, such as the name of a user's department.
	Revision int64 `json:"revision"`
	Scope    Scope `json:"scope"`
	// Key is the orgCode of a department, the userName of a user.
	Key        string      `json:"key"`
	Department *Department `json:"department,omitempty"`
	User       *User       `json:"user,omitempty"`
}

// Scope is whose directory the entity belongs to.
type Scope struct {
	Dataset    string `json:"dataset"` // prod or test
	InstanceID string `json:"instanceId"`
	TenantID   string `json:"tenantId"`
}

// Department is a department, whole.
type Department struct {
	OrgCode string `json:"orgCode"`
	Name    string `json:"name"`
	// ParentCode is empty at the root.
	ParentCode string `json:"parentCode"`
}

// User is an account, whole. Members the marketplace did not send are empty.
type User struct {
	UserName string `json:"userName"`
	// SignInName is the name that is unique over tenants.
	SignInName   string `json:"signInName"`
	Name         string `json:"name"`
	Active       bool   `json:"active"`
	Role         string `json:"role"`
	OrgCode      string `json:"orgCode"`
	OrgName      string `json:"orgName"`
	Organization string `json:"organization"`
	Position     string `json:"position"`
	EmployeeCode string `json:"employeeCode"`
	EmployeeType string `json:"employeeType"`
	Mobile       string `json:"mobile"`
	Email        string `json:"email"`
	WorkPlace    string `json:"workPlace"`
	EntryDate    string `json:"entryDate"`
}

func departmentOf(d target.Department) *Department {
	return &Department{OrgCode: d.Code, Name: d.Name, ParentCode: d.ParentCode}
}

func userOf(u target.User) *User {
	return &User{
		UserName: u.AccountName, SignInName: u.UserName, Name: u.DisplayName, Active: u.Active, Role: u.Role,
		OrgCode: u.DepartmentCode, OrgName: u.DepartmentName, Organization: u.Organization,
		Position: u.Title, EmployeeCode: u.EmployeeNumber, EmployeeType: u.EmployeeType,
		Mobile: u.Mobile, Email: u.Email, WorkPlace: u.WorkPlace, EntryDate: u.EntryDate,
	}
}

// message is a message ready to be sent.
type message struct {
	id   string
	body []byte
}

// compose makes the message of an object. Nothing in it depends on the
// attempt: the same change has the same id and bytes every time, after a
// restart and on every replica.
func compose(kind Type, object target.Object, data Data) (message, error) {
	origin := object.Origin
	data.ExternalID, data.Key = object.ExternalID, origin.Key
	data.Version, data.Revision = origin.Version, origin.Mark
	data.Scope = Scope{Dataset: string(origin.Scope.Dataset), InstanceID: origin.Scope.InstanceID, TenantID: origin.Scope.TenantID}
	body, err := json.Marshal(Message{Type: kind, Timestamp: origin.ChangedAt.UTC(), Data: data})
	if err != nil {
		return message{}, fmt.Errorf("encode message: %w", err)
	}
	return message{id: identify(body), body: body}, nil
}

// identify makes the id out of the message itself. The revision in it tells a
// third message, that changes something back, from the first.
func identify(body []byte) string {
	sum := sha256.Sum256(body)
	return "msg_" + hex.EncodeToString(sum[:16])
}

// ping is a message of its own each time.
func ping(now time.Time) message {
	body := []byte(`{"type":"ping","timestamp":"` + now.UTC().Format(time.RFC3339Nano) + `","data":{}}`)
	return message{id: identify(body), body: body}
}
