package mapping

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"regexp"
	"slices"
	"strings"

	"github.com/expr-lang/expr"
	"github.com/expr-lang/expr/ast"
	"github.com/expr-lang/expr/file"
	"github.com/expr-lang/expr/vm"
)

const (
	// maxSource and maxNodes bound an expression.
	maxSource = 2000 // bytes
	maxNodes  = 200
)

// Rules are the mapping of one target, by attribute.
type Rules struct {
	User, Department map[string]string
}

// Empty reports whether nothing is mapped.
func (r Rules) Empty() bool { return len(r.User)+len(r.Department) == 0 }

// Mapper maps for one target. It may be used from many goroutines.
type Mapper struct {
	user, department []rule
	fingerprint      string
}

// rule is one compiled expression.
type rule struct {
	Attribute
	program *vm.Program
}

// Compile checks rules against what a connector takes and compiles them. The
// error lists everything that is wrong, a line for each, in the order of the
// attributes' names: "user.displayName: line 1, column 6: unknown name nam in
// user.nam".
func Compile(schema Schema, rules Rules) (*Mapper, error) {
	m := &Mapper{}
	var errs []error
	m.user = compileAll("user", schema.User, rules.User, UserEnvironment{}, &errs)
	m.department = compileAll("department", schema.Department, rules.Department, DepartmentEnvironment{}, &errs)
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	text, err := json.Marshal(rules) // maps are written by ascending key
	if err != nil {
		return nil, fmt.Errorf("fingerprint: %w", err)
	}
	sum := sha256.Sum256(text)
	m.fingerprint = base64.RawURLEncoding.EncodeToString(sum[:12])
	return m, nil
}

// Fingerprint names the rules: with another one, what was delivered may come
// out differently.
func (m *Mapper) Fingerprint() string { return m.fingerprint }

func compileAll(what string, object Object, sources map[string]string, env any, errs *[]error) []rule {
	var rules []rule
	for _, name := range slices.Sorted(maps.Keys(sources)) {
		attribute, err := object.find(name)
		var program *vm.Program
		if err == nil {
			program, err = compile(sources[name], attribute, env)
		}
		if err != nil {
			*errs = append(*errs, fmt.Errorf("%s.%s: %w", what, name, err))
			continue
		}
		rules = append(rules, rule{attribute, program})
	}
	return rules
}

// builtins are the functions that expressions may call: those that end at
// once, read no clock, and grow nothing.
var builtins = []string{
	"len", "trim", "trimPrefix", "trimSuffix", "upper", "lower", "split", "indexOf", "lastIndexOf",
	"hasPrefix", "hasSuffix", "first", "last", "string", "int",
}

// functions are those that could grow a text by a multiple, bounded.
var functions = []expr.Option{
	expr.Function("replace", func(params ...any) (any, error) {
		text, old, with := params[0].(string), params[1].(string), params[2].(string) //nolint:forcetypeassert // the compiler has seen to it
		if old == "" {
			return nil, errors.New("replace: nothing to replace")
		}
		return bounded("replace", len(text)+strings.Count(text, old)*len(with), func() string { return strings.ReplaceAll(text, old, with) })
	}, new(func(text, old, with string) string)),
	expr.Function("join", func(params ...any) (any, error) {
		parts, between := params[0].([]string), params[1].(string) //nolint:forcetypeassert // likewise
		size := len(parts) * len(between)
		for _, part := range parts {
			size += len(part)
		}
		return bounded("join", size, func() string { return strings.Join(parts, between) })
	}, new(func(parts []string, between string) string)),
}

func bounded(what string, size int, run func() string) (any, error) {
	if size > 2*maxText {
		return nil, fmt.Errorf("%s: it would give %d bytes", what, size)
	}
	return run(), nil
}

func compile(source string, attribute Attribute, env any) (*vm.Program, error) {
	switch {
	case strings.TrimSpace(source) == "":
		return nil, errors.New(`an empty expression; to leave the attribute empty, write ""`)
	case len(source) > maxSource:
		return nil, fmt.Errorf("%d bytes: longer than %d", len(source), maxSource)
	}
	check := &boundedness{}
	options := []expr.Option{expr.Env(env), expr.MaxNodes(maxNodes), expr.Patch(check), expr.DisableAllBuiltins()}
	for _, name := range builtins {
		options = append(options, expr.EnableBuiltin(name))
	}
	program, err := expr.Compile(source, append(options, functions...)...)
	if err == nil {
		err = check.err
	}
	if err != nil {
		return nil, inOneLine(err, source)
	}
	if t := program.Node().Type(); !attribute.Kind.takes(t) {
		return nil, fmt.Errorf("it gives %s, and the attribute takes %s: %s", typeName(t), attribute.Kind, source)
	}
	return program, nil
}

// inOneLine is an error of an expression with the place in it.
func inOneLine(err error, source string) error {
	if at, ok := errors.AsType[*file.Error](err); ok {
		return fmt.Errorf("line %d, column %d: %s in %s", at.Line, at.Column+1, plainly(at.Message), flat(source))
	}
	return fmt.Errorf("%s in %s", flat(err.Error()), flat(source))
}

// unknownMember is what the library says of a member that there is not.
var unknownMember = regexp.MustCompile(`^type mapping\.(\w+) has no field (\w+)$`)

// plainly says which members there are, where one was named that there is not.
func plainly(message string) string {
	found := unknownMember.FindStringSubmatch(message)
	if found == nil {
		return flat(message)
	}
	for _, part := range []any{Account{}, Tenant{}, Department{}, Origin{}} {
		if t := reflect.TypeOf(part); t.Name() == found[1] {
			return "no member " + found[2] + "; there are " + strings.Join(members(t), ", ")
		}
	}
	return flat(message)
}

// members are the members of a part of an environment, as expressions name them.
func members(t reflect.Type) []string {
	names := make([]string, t.NumField())
	for i := range names {
		names[i] = t.Field(i).Tag.Get("expr")
	}
	return names
}

func flat(text string) string { return strings.Join(strings.Fields(text), " ") }

// boundedness refuses what could make a small expression take long or grow
// large: a variable that is used twice doubles, a range is as long as it says.
type boundedness struct{ err error }

// Visit implements ast.Visitor.
func (b *boundedness) Visit(node *ast.Node) {
	what := ""
	switch n := (*node).(type) {
	case *ast.VariableDeclaratorNode:
		what = "let"
	case *ast.PredicateNode:
		what = "a predicate"
	case *ast.SequenceNode:
		what = "a sequence"
	case *ast.BinaryNode:
		if n.Operator == ".." {
			what = "a range"
		}
	}
	if what != "" && b.err == nil {
		b.err = fmt.Errorf("%s is not allowed", what)
	}
}

// takes reports whether a value of a type will do. What is known only when the
// expression runs is looked at then.
func (k Kind) takes(t reflect.Type) bool {
	if t == nil || t.Kind() == reflect.Interface {
		return true
	}
	switch t.Kind() {
	case reflect.String:
		return true
	case reflect.Bool, reflect.Int, reflect.Int64, reflect.Float64:
		return k == Any
	case reflect.Slice, reflect.Array:
		return k != Text && (k == Any || t.Elem().Kind() == reflect.String || t.Elem().Kind() == reflect.Interface)
	default:
		return false
	}
}

func typeName(t reflect.Type) string {
	switch t.Kind() {
	case reflect.Struct:
		return "a whole " + strings.ToLower(t.Name())
	case reflect.Slice, reflect.Array:
		return "a list"
	case reflect.String:
		return "text"
	case reflect.Bool:
		return "a bool"
	case reflect.Int, reflect.Int64, reflect.Float64:
		return "a number"
	default:
		return t.String()
	}
}
