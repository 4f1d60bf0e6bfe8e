package keycloak

import (
	"context"
	"maps"
	"net/http"
	"net/url"
	"reflect"
	"slices"
	"strings"

	"golang.org/x/text/cases"
	"golang.org/x/text/language"

	"github.com/openkoo/connector/target"
)

// user is what we read of a user.
type user struct {
	ID         string     `json:"id"`
	Username   string     `json:"username"`
	Attributes attributes `json:"attributes"`
}

// userAttributeNames are the attributes we set beside externalID.
var userAttributeNames = []string{
	"accountName", "role", "title", "employeeNumber", "employeeType", "departmentCode", "departmentName", "organization", "mobile", "workPlace", "entryDate",
}

// userAttributes are an account's, in the order of userAttributeNames.
func userAttributes(u target.User) []string {
	return []string{
		u.AccountName, u.Role, u.Title, u.EmployeeNumber, u.EmployeeType, u.DepartmentCode, u.DepartmentName, u.Organization, u.Mobile, u.WorkPlace, u.EntryDate,
	}
}

func userPath(id string) string { return "/users/" + url.PathEscape(id) }

// PutUser implements target.Connector.
func (c *Connector) PutUser(ctx context.Context, u target.User) (string, error) {
	id, err := c.putUser(ctx, u)
	if statusOf(err) != http.StatusBadRequest {
		return id, err
	}
	sent := []string{"email"}
	for _, name := range userAttributeNames[1:] { // without accountName an account is not found again
		sent = append(sent, attributePrefix+name)
	}
	for _, m := range u.Mapped {
		if strings.HasPrefix(m.Name, attributePrefix) && !slices.Contains(sent, m.Name) {
			sent = append(sent, m.Name)
		}
	}
	return id, target.WithSuspects(err, false, slices.DeleteFunc(sent, func(name string) bool { return target.Omitted(u.Omit, name) }))
}

func (c *Connector) putUser(ctx context.Context, u target.User) (string, error) {
	id := u.RemoteID
	if id != "" {
		if err := c.updateUser(ctx, id, u); !isGone(err) {
			return id, err
		}
	}
	if id != "" || u.Uncertain {
		found, err := c.findUser(ctx, u.ExternalID)
		if err != nil {
			return "", err
		}
		if found != "" {
			return found, c.updateUser(ctx, found, u)
		}
	}
	body := make(map[string]any)
	render(body, u)
	id, err := c.create(ctx, call{op: "create user", path: "/users", body: body})
	if !isConflict(err) {
		return id, err
	}
	// The name, or the mail address, is taken: by ourselves, if an answer was
	// lost that nobody knows of.
	found, findErr := c.findUser(ctx, u.ExternalID)
	if findErr != nil {
		return "", findErr
	}
	if found == "" {
		return "", err
	}
	return found, c.updateUser(ctx, found, u)
}

// findUser finds the user who carries our name for the account; "" for none.
func (c *Connector) findUser(ctx context.Context, external string) (string, error) {
	const op = "find user"
	var users []user
	if err := c.do(ctx, call{op: op, method: http.MethodGet, path: "/users", query: having(externalID, name(external)), into: &users}); err != nil {
		return "", err
	}
	users = slices.DeleteFunc(users, func(u user) bool { return !u.Attributes.carries(externalID, name(external)) })
	switch len(users) {
	case 0:
		return "", nil
	case 1:
		return users[0].ID, nil
	default:
		return "", twice(op, external, users[0].ID, users[1].ID)
	}
}

// updateUser changes what is ours of a user. The server takes the whole user
// only and drops attributes that are not sent along, so the others' are read
// first and sent back.
func (c *Connector) updateUser(ctx context.Context, id string, u target.User) error {
	const op = "update user"
	var now map[string]any
	if err := c.do(ctx, call{op: op, method: http.MethodGet, path: userPath(id), into: &now}); err != nil {
		return err
	}
	if now["id"] != id {
		return &target.Error{Class: target.Transient, Op: op, Detail: "the answer is not the user who was asked for"}
	}
	next := clone(now)
	render(next, u)
	if reflect.DeepEqual(now, next) {
		return nil
	}
	return c.do(ctx, call{op: op, method: http.MethodPut, path: userPath(id), body: next})
}

// clone copies a user deep enough for render.
func clone(u map[string]any) map[string]any {
	next := make(map[string]any, len(u))
	for key, value := range u {
		if inner, ok := value.(map[string]any); ok {
			value = clone(inner)
		}
		next[key] = value
	}
	return next
}

// render sets what is ours. The whole display name is the first name: where a
// Chinese name parts is anybody's guess.
func render(user map[string]any, u target.User) {
	if now, ok := user["username"].(string); !ok || !keptAs(now, u.UserName) {
		user["username"] = u.UserName
	}
	user["enabled"] = u.Active
	for _, m := range u.Mapped {
		text, _ := m.Value.(string)
		switch m.Name {
		case "firstName":
			u.DisplayName = text
		case "email":
			u.Email = text
		case "lastName":
			if _, ok := user["lastName"]; ok || text != "" {
				user["lastName"] = text
			}
		}
	}
	user["firstName"] = u.DisplayName
	if now, ok := user["email"].(string); !target.Omitted(u.Omit, "email") && (u.Email != "" && !keptAs(now, u.Email) || u.Email == "" && ok) {
		user["email"] = u.Email // empty, it is removed
	}
	all, ok := user["attributes"].(map[string]any)
	if !ok {
		all = make(map[string]any)
		user["attributes"] = all
	}
	if ids, _ := all[externalID].([]any); !slices.Contains(ids, any(name(u.ExternalID))) {
		all[externalID] = append(slices.Clone(ids), name(u.ExternalID))
	}
	before := maps.Clone(all)
	for i, value := range userAttributes(u) {
		if value == "" {
			delete(all, userAttributeNames[i])
		} else {
			all[userAttributeNames[i]] = []any{value}
		}
	}
	overlay(all, u.Mapped)
	for _, name := range u.Omit {
		name = strings.TrimPrefix(name, attributePrefix)
		if was, ok := before[name]; ok {
			all[name] = was
		} else {
			delete(all, name)
		}
	}
}

// keptAs reports whether the server has a name as it was set: it keeps names in
// lower case, as Java has it, in which İ is two characters.
func keptAs(now, set string) bool {
	return strings.EqualFold(now, set) || now == cases.Lower(language.Und).String(set)
}

// overlay sets the attributes that are mapped, in place of what there is.
func overlay(all map[string]any, mapped []target.Mapped) {
	for _, m := range mapped {
		attribute, ok := strings.CutPrefix(m.Name, attributePrefix)
		if !ok {
			continue
		}
		switch value := m.Value.(type) {
		case nil:
			delete(all, attribute)
		case []any:
			all[attribute] = value
		default:
			all[attribute] = []any{value}
		}
	}
}

// DeleteUser implements target.Connector.
func (c *Connector) DeleteUser(ctx context.Context, object target.Object) error {
	ids := []string{object.RemoteID}
	if object.RemoteID == "" || object.Uncertain {
		found, err := c.findUser(ctx, object.ExternalID)
		if err != nil {
			return err
		}
		if found != object.RemoteID {
			ids = append(ids, found)
		}
	}
	for _, id := range ids {
		if id == "" {
			continue
		}
		err := c.do(ctx, call{op: "delete user", method: http.MethodDelete, path: userPath(id)})
		if err != nil && !isGone(err) {
			return err
		}
	}
	return nil
}

// ChangeMembers implements target.Connector, one request for each member.
func (c *Connector) ChangeMembers(ctx context.Context, group target.Object, change target.MemberChange) error {
	for _, step := range []struct {
		op, method string
		members    []target.Member
	}{{"add member", http.MethodPut, change.Add}, {"remove member", http.MethodDelete, change.Remove}} {
		for _, m := range step.members {
			if m.Kind != target.MemberUser {
				return &target.Error{Class: target.Permanent, Op: step.op, Detail: "groups are placed by their parent"}
			}
			err := c.do(ctx, call{op: step.op, method: step.method, path: userPath(m.RemoteID) + groupPath(group.RemoteID)})
			if isGone(err) && step.method == http.MethodDelete {
				continue
			}
			if isGone(err) {
				return c.whatIsGone(ctx, group, err)
			}
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// whatIsGone finds out what a "not found" is about: the group, or the user.
func (c *Connector) whatIsGone(ctx context.Context, group target.Object, gone error) error {
	err := c.do(ctx, call{op: "read group", method: http.MethodGet, path: groupPath(group.RemoteID)})
	switch {
	case isGone(err):
		return gone
	case err != nil:
		return err
	default:
		return &target.Error{Class: target.NeedsParent, Op: "add member", Detail: "the account is not there"}
	}
}
