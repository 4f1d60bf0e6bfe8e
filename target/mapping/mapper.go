package mapping

import (
	"errors"
	"fmt"
	"sync"

	"github.com/expr-lang/expr/file"
	"github.com/expr-lang/expr/vm"

	"github.com/openkoo/connector/directory"
	"github.com/openkoo/connector/target"
)

const (
	// maxText and maxList bound a value.
	maxText = 4096 // bytes of a text
	maxList = 100  // entries of a list
	// memoryBudget bounds what one expression makes on its way.
	memoryBudget = 10_000
)

// MapUser sets what the rules say of a user. A rule that fails is a permanent
// error that names its attribute: the account cannot be sent until the mapping
// or the account is changed. The account of somebody who may not sign in is
// barred all the same: there, a rule that fails changes nothing.
func (m *Mapper) MapUser(into *target.User, scope directory.Scope, u *directory.User, tenant *directory.Tenant, department *directory.Department) error {
	if len(m.user) == 0 {
		return nil
	}
	env := userEnvironment(into, scope, u, tenant, department)
	mapped := make([]target.Mapped, 0, len(m.user))
	for i := range m.user {
		rule := &m.user[i]
		value, err := rule.run(env)
		switch {
		case err != nil && !into.Active:
		case err != nil:
			return failed("map user", rule.Name, err)
		case rule.Part == SignIn:
			into.UserName, _ = value.(string)
		default:
			mapped = append(mapped, target.Mapped{Name: rule.Name, Value: value})
		}
	}
	into.Mapped = mapped
	return nil
}

// MapDepartment sets what the rules say of a department, and fails as MapUser
// does.
func (m *Mapper) MapDepartment(into *target.Department, scope directory.Scope, d *directory.Department) error {
	if len(m.department) == 0 {
		return nil
	}
	env := &DepartmentEnvironment{Department: departmentOf(d), Origin: originOf(scope)}
	mapped := make([]target.Mapped, 0, len(m.department))
	for i := range m.department {
		rule := &m.department[i]
		value, err := rule.run(env)
		if err != nil {
			return failed("map department", rule.Name, err)
		}
		if rule.Part == Name {
			into.Name, _ = value.(string)
			continue
		}
		mapped = append(mapped, target.Mapped{Name: rule.Name, Value: value})
	}
	into.Mapped = mapped
	return nil
}

func failed(op, attribute string, err error) error {
	return &target.Error{Class: target.Permanent, Op: op, Detail: "attribute " + attribute + ": " + err.Error() + "; change its expression in the target's mapping, or the entity"}
}

// machines run the programs; each keeps its stack.
var machines = sync.Pool{New: func() any { return &vm.VM{MemoryBudget: memoryBudget} }}

// run evaluates a rule; nil for an attribute that the target is not to have.
func (r *rule) run(env any) (any, error) {
	machine, _ := machines.Get().(*vm.VM)
	result, err := machine.Run(r.program, env)
	machines.Put(machine)
	if err != nil {
		if at, ok := errors.AsType[*file.Error](err); ok {
			return nil, fmt.Errorf("line %d, column %d: %s", at.Line, at.Column+1, at.Message)
		}
		return nil, err
	}
	value, err := r.value(result)
	if err == nil && value == nil && (r.Required || r.Part != Plain) {
		err = errors.New("it is empty, and a value is needed")
	}
	return value, err
}

// value is a result as the attribute takes it.
func (r *rule) value(result any) (any, error) {
	switch v := result.(type) {
	case nil:
		return nil, nil
	case string:
		return textValue(v)
	case bool, int, float64:
		if r.Kind == Any {
			return v, nil
		}
	case []string:
		if r.Kind != Text {
			list := make([]any, len(v))
			for i := range v {
				list[i] = v[i]
			}
			return r.list(list)
		}
	case []any:
		if r.Kind != Text {
			return r.list(v)
		}
	}
	return nil, fmt.Errorf("it gives %T, and the attribute takes %s", result, r.Kind)
}

func textValue(text string) (any, error) {
	switch {
	case text == "":
		return nil, nil
	case len(text) > maxText:
		return nil, fmt.Errorf("%d bytes: longer than %d", len(text), maxText)
	default:
		return text, nil
	}
}

// list leaves empty entries out; a list without any is no value.
func (r *rule) list(entries []any) (any, error) {
	if len(entries) > maxList {
		return nil, fmt.Errorf("%d entries: more than %d", len(entries), maxList)
	}
	kept := make([]any, 0, len(entries))
	for _, entry := range entries {
		switch v := entry.(type) {
		case string:
			text, err := textValue(v)
			if err != nil {
				return nil, err
			}
			if text != nil {
				kept = append(kept, text)
			}
			continue
		case bool, int, float64:
			if r.Kind == Any {
				kept = append(kept, v)
				continue
			}
		}
		return nil, fmt.Errorf("it has an entry of %T, and the attribute takes %s", entry, r.Kind)
	}
	if len(kept) == 0 {
		return nil, nil
	}
	return kept, nil
}
