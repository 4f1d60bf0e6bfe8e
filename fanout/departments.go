package fanout

import (
	"context"
	"fmt"
	"slices"

	"github.com/openkoo/connector/directory"
	"github.com/openkoo/connector/storage"
	"github.com/openkoo/connector/target"
)

// putDepartments creates, renames and moves departments. Where the target
// keeps the tree itself a level is sent only when the levels above it are
// done; elsewhere order does not matter, placements come later.
func (r *round) putDepartments(ctx context.Context, tasks []storage.Task) error {
	if len(tasks) == 0 {
		return nil
	}
	levels := [][]storage.Task{tasks}
	if r.capabilities.NativeParent {
		levels = topDown(tasks)
	}
	for _, level := range levels {
		parents, err := r.parents(ctx, level)
		if err != nil {
			return err
		}
		err = r.each(ctx, level, func(ctx context.Context, t storage.Task) { r.putDepartment(ctx, t, parents) })
		if err != nil || r.stopped() {
			return err
		}
		// The next level looks its parents up in the store.
		if err := r.flush(ctx); err != nil {
			return err
		}
	}
	return r.putAgain(ctx)
}

// parents looks up the departments that those of a level hang under.
func (r *round) parents(ctx context.Context, level []storage.Task) (map[string]storage.Slot, error) {
	if !r.capabilities.NativeParent {
		return nil, nil
	}
	var codes []string
	for _, t := range level {
		if code := t.Department.AttachedTo(); code != "" {
			codes = append(codes, code)
		}
	}
	return r.slots(ctx, storage.SlotDepartment, codes)
}

func (r *round) putDepartment(ctx context.Context, t storage.Task, parents map[string]storage.Slot) {
	parentID := ""
	if code := t.Department.AttachedTo(); code != "" && r.capabilities.NativeParent {
		parent, ok := parents[code]
		if !ok || parent.RemoteID == "" {
			r.waiting(t.Slot, code, fmt.Sprintf("its parent %s is not at the target yet", code))
			return
		}
		parentID = parent.RemoteID
	}
	want, err := r.RenderDepartment(r.scope, t.Department, parentID)
	if err != nil {
		r.failed(ctx, t.Slot, err)
		return
	}
	slot := t.Slot
	var omitted []string
	var refusal error
	if !upToDate(slot, digestDepartment(want)) {
		want.Object = objectOf(r.scope, t)
		omitted, refusal, err = r.sparing(func(omit []string) error {
			want.Omit = omit
			return r.call(ctx, "put department", func(ctx context.Context) error {
				remoteID, err := r.Connector.PutDepartment(ctx, want)
				if err == nil {
					want.RemoteID = remoteID
				}
				return err
			})
		})
		if err != nil {
			if !r.putOff(t, err) {
				r.failed(ctx, t.Slot, err)
			}
			return
		}
		slot.RemoteID, want.Omit = want.RemoteID, omitted
		if t.Hash != "" {
			r.changed()
		}
	}
	slot.Group = ""
	r.deliveredWithout(slot, omittedHash(digestDepartment(want), omitted), omitted, refusal)
}

// upToDate reports whether the target is known to have the rendered form. It
// is not while an attempt's answer is missing: that may have changed it.
func upToDate(slot storage.Slot, hash string) bool {
	return slot.RemoteID != "" && !slot.Uncertain && slot.Hash == hash
}

// deleteDepartments removes departments, children before their parents.
func (r *round) deleteDepartments(ctx context.Context, tasks []storage.Task) error {
	levels := topDown(tasks)
	for _, level := range slices.Backward(levels) {
		if err := r.each(ctx, level, r.deleteDepartment); err != nil {
			return err
		}
		if r.stopped() {
			return nil
		}
	}
	return nil
}

func (r *round) deleteDepartment(ctx context.Context, t storage.Task) {
	if t.RemoteID != "" || t.Uncertain {
		object := objectOf(r.scope, t)
		err := r.call(ctx, "delete department", func(ctx context.Context) error {
			return r.Connector.DeleteDepartment(ctx, object)
		})
		if err != nil && target.ClassOf(err) != target.Gone {
			r.failed(ctx, t.Slot, err)
			return
		}
		r.freed()
	}
	slot := t.Slot
	slot.RemoteID, slot.Group = "", ""
	r.delivered(slot, "")
}

// topDown splits departments into levels: no department stands in a level
// before its parent's. Parents outside the list do not count. A cycle, which
// the domain rules out, would end in the last level rather than loop.
func topDown(tasks []storage.Task) [][]storage.Task {
	index := make(map[string]int, len(tasks))
	for i, t := range tasks {
		index[t.Key] = i
	}
	depth := make([]int, len(tasks)) // 0: not known yet
	var path []int
	var levels [][]storage.Task
	for i := range tasks {
		path = path[:0]
		base := 0
		for at := i; ; {
			if depth[at] != 0 {
				base = max(depth[at], 0)
				break
			}
			depth[at] = -1 // on the path
			path = append(path, at)
			parent, ok := index[parentOf(tasks[at])]
			if !ok {
				break
			}
			at = parent
		}
		for _, p := range slices.Backward(path) {
			base++
			depth[p] = base
		}
	}
	for i, t := range tasks {
		for len(levels) < depth[i] {
			levels = append(levels, nil)
		}
		levels[depth[i]-1] = append(levels[depth[i]-1], t)
	}
	return levels
}

// parentOf is the code a department's slot hangs under, a tombstone's too.
func parentOf(t storage.Task) string {
	if t.Department == nil {
		return ""
	}
	return t.Department.AttachedTo()
}

// lookup reads slots of the scope with their entities by key.
func (r *round) lookup(ctx context.Context, kind storage.SlotKind, keys []string) (map[string]storage.Task, error) {
	return lookedUp(ctx, r, kind, keys, r.store.Lookup)
}

// slots reads slots of the scope by key.
func (r *round) slots(ctx context.Context, kind storage.SlotKind, keys []string) (map[string]storage.Slot, error) {
	return lookedUp(ctx, r, kind, keys, r.store.Slots)
}

// lookedUp asks the store for each key once.
func lookedUp[T any](ctx context.Context, r *round, kind storage.SlotKind, keys []string,
	read func(context.Context, string, directory.Scope, storage.SlotKind, []string) (map[string]T, error),
) (map[string]T, error) {
	seen := make(map[string]struct{}, len(keys))
	distinct := keys[:0:0]
	for _, key := range keys {
		if _, ok := seen[key]; !ok && key != "" {
			seen[key] = struct{}{}
			distinct = append(distinct, key)
		}
	}
	if len(distinct) == 0 {
		return nil, nil
	}
	found, err := read(ctx, r.Name, r.scope, kind, distinct)
	if err != nil {
		return nil, fmt.Errorf("look %s slots of %s up: %w", kind, r.scope, err)
	}
	return found, nil
}
