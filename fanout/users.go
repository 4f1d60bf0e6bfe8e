package fanout

import (
	"context"
	"fmt"

	"github.com/openkoo/connector/directory"
	"github.com/openkoo/connector/storage"
	"github.com/openkoo/connector/target"
)

// putUsers brings accounts to the target. It returns those the target is not
// to have: they are deleted in a later phase, after their memberships.
func (r *round) putUsers(ctx context.Context, tasks []storage.Task) (absent []storage.Task, err error) {
	put := make([]storage.Task, 0, len(tasks))
	for _, t := range tasks {
		switch what, _ := r.decideUser(t.User, known(t)); what {
		case fateAbsent:
			if r.softly(t) {
				put = append(put, t)
			} else {
				absent = append(absent, t)
			}
		case fateLeave:
			r.left(t.Slot)
		default:
			put = append(put, t)
		}
	}
	surroundings, err := r.surroundings(ctx, put)
	if err != nil {
		return nil, err
	}
	return absent, r.each(ctx, put, func(ctx context.Context, t storage.Task) { r.putUser(ctx, t, surroundings) })
}

// left settles an account that is left as it is. Whether the target has it may
// go on being uncertain.
func (r *round) left(slot storage.Slot) {
	settled := r.done(slot, slot.Hash)
	settled.Uncertain = slot.Uncertain
	r.settle(settled)
}

// known reports whether the target has the object, or may have it.
func known(t storage.Task) bool { return t.RemoteID != "" || t.Uncertain }

// surroundings is what an account looks like depends on beside itself.
type surroundings struct {
	tenant      *directory.Tenant
	departments map[string]storage.Task
}

func (r *round) surroundings(ctx context.Context, users []storage.Task) (surroundings, error) {
	var s surroundings
	if len(users) == 0 {
		return s, nil
	}
	tenant, ok, err := r.store.Tenant(ctx, r.scope)
	if err != nil {
		return s, fmt.Errorf("read tenant of %s: %w", r.scope, err)
	}
	if ok && !tenant.Deleted {
		s.tenant = &tenant
	}
	codes := make([]string, 0, len(users))
	for _, t := range users {
		codes = append(codes, t.User.OrgCode)
	}
	s.departments, err = r.lookup(ctx, storage.SlotDepartment, codes)
	return s, err
}

func (r *round) putUser(ctx context.Context, t storage.Task, s surroundings) {
	_, active := r.decideUser(t.User, known(t))
	want, err := r.RenderUser(r.scope, t.User, s.tenant, s.departments[t.User.OrgCode].Department, active)
	if err != nil {
		r.failed(ctx, t.Slot, err)
		return
	}
	slot := t.Slot
	var omitted []string
	var refusal error
	if !hasUser(slot, digestUser(want), active) {
		want.Object = objectOf(r.scope, t)
		omitted, refusal, err = r.sparing(func(omit []string) error {
			want.Omit = omit
			return r.sendUser(ctx, "put user", &want)
		})
		if err != nil && !active && t.RemoteID != "" && refuses(err) {
			want, omitted = bare(want), nil
			err = r.sendUser(ctx, "bar user", &want)
		}
		if err != nil {
			r.failed(ctx, t.Slot, err)
			return
		}
		slot.RemoteID, want.Omit = want.RemoteID, omitted
		if t.Hash != "" {
			r.changed()
		}
	}
	hash := omittedHash(digestUser(want), omitted)
	if !active {
		hash += inactiveMark
	}
	if what, _ := r.decideUser(t.User, known(t)); what == fateAbsent {
		r.leaving(slot, t.User, hash)
		return
	}
	r.deliveredWithout(slot, hash, omitted, refusal)
}

// sendUser sends an account and notes its remote id in it.
func (r *round) sendUser(ctx context.Context, op string, want *target.User) error {
	return r.call(ctx, op, func(ctx context.Context) error {
		remoteID, err := r.Connector.PutUser(ctx, *want)
		if err != nil {
			return masked(err, *want)
		}
		want.RemoteID = remoteID
		return nil
	})
}

// refuses reports whether the target does not take an account as it is.
func refuses(err error) bool {
	class := target.ClassOf(err)
	return class == target.Permanent || class == target.Conflict
}

// bare is an account without what a target may refuse of it. Who is to be barred
// must not keep the access for the sake of a title.
func bare(u target.User) target.User {
	return target.User{Object: u.Object, UserName: u.UserName, AccountName: u.AccountName, DisplayName: u.DisplayName}
}

// hasUser reports whether the target is known to have the account as rendered.
func hasUser(slot storage.Slot, hash string, active bool) bool {
	return upToDate(slot, hash) || !active && upToDate(slot, hash+inactiveMark)
}

func (r *round) deleteUsers(ctx context.Context, tasks []storage.Task) error {
	return r.each(ctx, tasks, func(ctx context.Context, t storage.Task) {
		object := objectOf(r.scope, t)
		err := r.call(ctx, "delete user", func(ctx context.Context) error {
			return r.Connector.DeleteUser(ctx, object)
		})
		if err != nil && target.ClassOf(err) != target.Gone {
			r.failed(ctx, t.Slot, err)
			return
		}
		r.freed()
		slot := t.Slot
		slot.RemoteID = ""
		r.delivered(slot, "")
	})
}
