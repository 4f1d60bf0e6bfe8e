package directory_test

import (
	"context"
	"iter"

	"github.com/openkoo/connector/directory"
	"github.com/openkoo/connector/directory/directorytest"
)

func push(at directory.SourceTime, flag directory.Flag, payload directory.Payload) *directory.Push {
	return &directory.Push{ID: "p-" + at.Wire(), Scope: directorytest.Scope, SourceTime: at, Flag: flag, Payload: payload}
}

func item(code, parent string) directory.DepartmentItem {
	return directory.DepartmentItem{Code: code, Name: "name of " + code, ParentCode: parent}
}

// department puts a department under a parent.
func department(at directory.SourceTime, code, parent string) *directory.Push {
	return push(at, directory.FlagModify, &directory.DepartmentPush{DepartmentItem: item(code, parent)})
}

// remove deletes a department.
func remove(at directory.SourceTime, code string) *directory.Push {
	return push(at, directory.FlagDelete, &directory.DepartmentPush{DepartmentItem: directory.DepartmentItem{Code: code}})
}

// full is a full push of departments at the root.
func full(at directory.SourceTime, codes ...string) *directory.Push {
	items := make([]directory.DepartmentItem, len(codes))
	for i, code := range codes {
		items[i] = item(code, "")
	}
	return fullOf(at, items...)
}

func fullOf(at directory.SourceTime, items ...directory.DepartmentItem) *directory.Push {
	return push(at, directory.FlagModify, &directory.FullPush{Departments: items})
}

// failingView fails one call: after so many that did not.
type failingView struct {
	*directorytest.Memory
	after int
	err   error
}

func (v *failingView) fails() error {
	v.after--
	if v.after == -1 {
		return v.err
	}
	return nil
}

func (v *failingView) State(ctx context.Context) (directory.State, error) {
	state, _ := v.Memory.State(ctx)
	return state, v.fails()
}

func (v *failingView) Around(ctx context.Context, code, parent string) (directory.Surroundings, error) {
	around, _ := v.Memory.Around(ctx, code, parent)
	return around, v.fails()
}

func (v *failingView) Department(ctx context.Context, code string) (directory.Department, bool, error) {
	d, ok, _ := v.Memory.Department(ctx, code)
	return d, ok, v.fails()
}

func (v *failingView) UsersIn(ctx context.Context, codes []string) (map[string]int, error) {
	in, _ := v.Memory.UsersIn(ctx, codes)
	return in, v.fails()
}

func (v *failingView) Departments(ctx context.Context) iter.Seq2[directory.Department, error] {
	return func(yield func(directory.Department, error) bool) {
		if err := v.fails(); err != nil {
			yield(directory.Department{}, err)
			return
		}
		v.Memory.Departments(ctx)(yield)
	}
}
