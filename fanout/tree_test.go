package fanout

import (
	"context"
	"fmt"
	"maps"
	"sync"

	"github.com/openkoo/connector/target"
)

// treeTarget is a target that keeps the tree itself, as a directory server
// does: no child without its parent, no parent gone before its children.
type treeTarget struct {
	mu       sync.Mutex
	parents  map[string]string // by code
	refuse   map[string]bool   // codes refused for good
	refusals []string          // what was refused for its order
}

func newTreeTarget() *treeTarget { return &treeTarget{parents: make(map[string]string)} }

func (t *treeTarget) shape() map[string]string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return maps.Clone(t.parents)
}

func (t *treeTarget) allow() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.refuse = nil
}

// Describe implements target.Connector.
func (t *treeTarget) Describe(context.Context) (target.Capabilities, error) {
	return target.Capabilities{NativeParent: true}, nil
}

// PutDepartment implements target.Connector; the remote id is the code.
func (t *treeTarget) PutDepartment(_ context.Context, d target.Department) (string, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.refuse[d.Code] {
		return "", &target.Error{Class: target.Permanent, Op: "put", Detail: "refused"}
	}
	if _, ok := t.parents[d.ParentRemoteID]; !ok && d.ParentRemoteID != "" {
		t.refusals = append(t.refusals, d.Code+" before its parent")
		return "", &target.Error{Class: target.Transient, Op: "put", Detail: "no parent"}
	}
	t.parents[d.Code] = d.ParentRemoteID
	return d.Code, nil
}

// DeleteDepartment implements target.Connector.
func (t *treeTarget) DeleteDepartment(_ context.Context, object target.Object) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	for code, parent := range t.parents {
		if parent == object.RemoteID {
			t.refusals = append(t.refusals, fmt.Sprintf("%s before its child %s", object.RemoteID, code))
			return &target.Error{Class: target.Transient, Op: "delete", Detail: "has children"}
		}
	}
	delete(t.parents, object.RemoteID)
	return nil
}

// PutUser implements target.Connector.
func (*treeTarget) PutUser(_ context.Context, u target.User) (string, error) {
	return u.AccountName, nil
}

// DeleteUser implements target.Connector.
func (*treeTarget) DeleteUser(context.Context, target.Object) error { return nil }

// ChangeMembers implements target.Connector.
func (*treeTarget) ChangeMembers(context.Context, target.Object, target.MemberChange) error {
	panic("a target without memberships is asked for one")
}

// Close implements target.Connector.
func (*treeTarget) Close() error { return nil }
