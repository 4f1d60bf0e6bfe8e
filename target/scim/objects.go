package scim

import (
	"context"
	"net/http"

	"github.com/openkoo/connector/target"
)

// The schemas of RFC 7643 and the PATCH message of RFC 7644.
const (
	userSchema       = "urn:ietf:params:scim:schemas:core:2.0:User"
	groupSchema      = "urn:ietf:params:scim:schemas:core:2.0:Group"
	enterpriseSchema = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User"
	patchSchema      = "urn:ietf:params:scim:api:messages:2.0:PatchOp"
)

type operation struct {
	Op    string `json:"op"`
	Path  string `json:"path,omitempty"`
	Value any    `json:"value,omitempty"`
}

type patchBody struct {
	Schemas    []string    `json:"schemas"`
	Operations []operation `json:"Operations"`
}

// patch replaces attributes, all in one operation.
func patch(changes any) patchBody {
	return patchBody{Schemas: []string{patchSchema}, Operations: []operation{{Op: "replace", Value: changes}}}
}

// PutDepartment implements target.Connector. Members are left alone.
func (c *Connector) PutDepartment(ctx context.Context, d target.Department) (string, error) {
	changes := map[string]any{"displayName": d.Name, "externalId": d.ExternalID}
	body := map[string]any{"schemas": []string{groupSchema}, "displayName": d.Name, "externalId": d.ExternalID}
	return c.groups().put(ctx, d.Object, body, changes, "")
}

// DeleteDepartment implements target.Connector.
func (c *Connector) DeleteDepartment(ctx context.Context, object target.Object) error {
	return c.groups().remove(ctx, object)
}

// PutUser implements target.Connector.
func (c *Connector) PutUser(ctx context.Context, u target.User) (string, error) {
	changes := userAttributes(u)
	body := userAttributes(u)
	body["schemas"] = []string{userSchema, enterpriseSchema}
	return c.users().put(ctx, u.Object, body, changes, u.UserName)
}

// userAttributes maps an account. Empty ones are left out: many servers refuse
// an empty value.
func userAttributes(u target.User) map[string]any {
	attributes := map[string]any{
		"userName": u.UserName, "externalId": u.ExternalID, "displayName": u.DisplayName, "active": u.Active,
		"name": map[string]any{"formatted": u.DisplayName},
	}
	enterprise := map[string]any{}
	for _, attribute := range []struct {
		into        map[string]any
		name, value string
	}{
		{attributes, "title", u.Title},
		{attributes, "userType", u.EmployeeType},
		{enterprise, "employeeNumber", u.EmployeeNumber},
		{enterprise, "department", u.DepartmentName},
		{enterprise, "organization", u.Organization},
	} {
		if attribute.value != "" {
			attribute.into[attribute.name] = attribute.value
		}
	}
	if u.Email != "" {
		attributes["emails"] = []any{map[string]any{"value": u.Email, "type": "work", "primary": true}}
	}
	if u.Mobile != "" {
		attributes["phoneNumbers"] = []any{map[string]any{"value": u.Mobile, "type": "mobile"}}
	}
	if len(enterprise) > 0 {
		attributes[enterpriseSchema] = enterprise
	}
	return attributes
}

// DeleteUser implements target.Connector.
func (c *Connector) DeleteUser(ctx context.Context, object target.Object) error {
	return c.users().remove(ctx, object)
}

// ChangeMembers implements target.Connector with one PATCH.
func (c *Connector) ChangeMembers(ctx context.Context, group target.Object, change target.MemberChange) error {
	var operations []operation
	if len(change.Add) > 0 {
		members := make([]any, len(change.Add))
		for i, m := range change.Add {
			kind := "User"
			if m.Kind == target.MemberDepartment {
				kind = "Group"
			}
			members[i] = map[string]any{"value": m.RemoteID, "type": kind}
		}
		operations = append(operations, operation{Op: "add", Path: "members", Value: members})
	}
	for _, m := range change.Remove {
		operations = append(operations, operation{Op: "remove", Path: "members[value eq " + quote(m.RemoteID) + "]"})
	}
	return c.http.do(ctx, call{
		op: "patch group members", method: http.MethodPatch, path: c.groups().one(group.RemoteID),
		body: patchBody{Schemas: []string{patchSchema}, Operations: operations},
	})
}
