package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/openkoo/connector/config"
	"github.com/openkoo/connector/directory"
	"github.com/openkoo/connector/fanout"
	"github.com/openkoo/connector/target"
	"github.com/openkoo/connector/target/mapping"
)

func mappingCommand(s *settings) *cobra.Command {
	cmd := group(&cobra.Command{
		Use:     "mapping",
		GroupID: "operate",
		Short:   "What accounts and departments become at each target",
		Long: `A target's mapping says by expressions what its attributes are made of
(docs/mapping.md). Nothing here speaks to a target or to a running connector.`,
		Example: `  orgsync mapping defaults scim
  orgsync mapping check --config orgsync.yaml
  orgsync mapping check --config orgsync.yaml --users users.csv --departments departments.csv`,
	})
	defaults := &cobra.Command{
		Use: "defaults TYPE", Short: "Print what a target of that type does without a mapping", Args: one("TYPE"),
		Long: "Prints, to be copied and changed, what a target of that type does without a mapping. TYPE is scim, ldap or keycloak.",
		RunE: func(cmd *cobra.Command, args []string) error { return printDefaults(cmd.OutOrStdout(), args[0]) },
	}
	var sample sampleFlags
	check := &cobra.Command{
		Use: "check", Short: "Check the configured mappings and show what they make of a sample", Args: none,
		Long: `Checks the mappings of the configuration and prints what every target would have
of each sample account and department. Attributes that a mapping sets are marked
with *. The files are those that orgsync push takes; without any, a made-up
account serves.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := s.load()
			if err != nil {
				return err
			}
			return sample.show(cmd.OutOrStdout(), c.Targets)
		},
	}
	flags := check.Flags()
	flags.StringVar(&sample.users, "users", "", "CSV or JSON file of accounts")
	flags.StringVar(&sample.departments, "departments", "", "CSV or JSON file of departments")
	flags.StringVar(&sample.tenant, "tenant", "", "CSV or JSON file with the tenant")
	flags.StringVar(&sample.target, "target", "", "only the target of this name")
	cmd.AddCommand(check, defaults)
	return cmd
}

func printDefaults(w io.Writer, kind string) error {
	connector, ok := connectorTypes[kind]
	if !ok || connector.schema == nil {
		return fmt.Errorf("%q: want scim, ldap or keycloak; a webhook's messages are whole snapshots", kind)
	}
	schema := connector.schema(&config.Target{Type: kind})
	fmt.Fprintln(w, "mapping:")
	for _, part := range []struct {
		name   string
		object mapping.Object
	}{{"user", schema.User}, {"department", schema.Department}} {
		fmt.Fprintf(w, "  %s:\n", part.name)
		for _, a := range part.object.Attributes {
			if a.Fixed == "" && a.Default != "" {
				fmt.Fprintf(w, "    %s: %s\n", a.Name, quoted(a.Default))
			}
		}
	}
	return nil
}

// quoted is an expression as YAML takes any.
func quoted(expression string) string {
	return "'" + strings.ReplaceAll(expression, "'", "''") + "'"
}

// sampleFlags say what to show the mappings on.
type sampleFlags struct{ users, departments, tenant, target string }

// sample is a little enterprise to map.
type sample struct {
	scope       directory.Scope
	tenant      *directory.Tenant
	departments []directory.Department
	users       []directory.User
}

func (f *sampleFlags) show(w io.Writer, targets []config.Target) error {
	s, err := f.read()
	if err != nil {
		return err
	}
	shown := 0
	var errs []error
	for i := range targets {
		t := &targets[i]
		if f.target != "" && t.Name != f.target {
			continue
		}
		shown++
		fmt.Fprintf(w, "%s (%s)\n", t.Name, t.Type)
		errs = append(errs, s.render(w, t))
	}
	switch {
	case shown == 0 && f.target != "":
		return fmt.Errorf("--target %q: no target of that name is configured", f.target)
	case shown == 0:
		return errors.New("no target is configured; name the configuration with --config")
	}
	return errors.Join(errs...)
}

func (f *sampleFlags) read() (sample, error) {
	s := sample{
		scope:       directory.Scope{Dataset: directory.Prod, InstanceID: "instance-1", TenantID: "tenant-1"},
		tenant:      &directory.Tenant{Code: "acme", Name: "云启科技有限公司", DomainName: "acme.example.com"},
		departments: []directory.Department{{Code: "1001", Name: "研发部", ParentCode: "1000"}},
		users: []directory.User{{
			UserName: "zhang", Name: "张三", OrgCode: "1001", Role: "user", Enabled: true, Position: "Engineer", EmployeeCode: "E0001",
			EmployeeType: 1, Mobile: "13812345678", Email: "zhang@example.com", WorkPlace: "深圳", EntryDate: "2024-01-02",
			Grants: map[string]directory.Grant{"app-1": {}},
		}},
	}
	maker := callMaker{file: f.users, flag: directory.FlagAdd, app: "app-1"}
	if rows, err := optionalRows(f.tenant, tenantColumns(directory.FlagAdd)); err != nil {
		return s, err
	} else if len(rows) > 0 {
		r := &rows[0]
		s.tenant = &directory.Tenant{Code: r.text("tenantCode"), Name: r.text("name"), DomainName: r.text("domainName")}
	}
	if rows, err := optionalRows(f.departments, departmentColumns(directory.FlagAdd)); err != nil {
		return s, err
	} else if f.departments != "" {
		s.departments = nil
		for i := range rows {
			item := department(&rows[i])
			s.departments = append(s.departments, directory.Department{Code: item.Code, Name: item.Name, ParentCode: item.ParentCode})
		}
	}
	rows, err := optionalRows(f.users, userColumns(directory.FlagAdd))
	if err != nil || f.users == "" {
		return s, err
	}
	s.users = nil
	for i := range rows {
		item := maker.user(&rows[i])
		push := &directory.Push{Flag: directory.FlagAdd, SourceTime: 1}
		u, _, _ := directory.Account(push, &item, directory.User{})
		u.Grants = map[string]directory.Grant{"app-1": {}}
		s.users = append(s.users, u)
	}
	return s, errors.Join(maker.errs...)
}

func optionalRows(path string, columns []column) ([]row, error) {
	if path == "" {
		return nil, nil
	}
	rows, _, err := readRows(path, columns)
	return rows, err
}

// render shows what a target would have of the sample. The defaults are mapped
// too, for they are all the same to whoever looks.
func (s *sample) render(w io.Writer, t *config.Target) error {
	connector := connectorTypes[t.Type]
	if connector.schema == nil {
		fmt.Fprintln(w, "  sent as whole snapshots; nothing is mapped")
		return nil
	}
	schema := connector.schema(t)
	rules := schema.Defaults()
	maps.Copy(rules.User, t.Mapping.User)
	maps.Copy(rules.Department, t.Mapping.Department)
	mapper, err := mapping.Compile(schema, rules)
	if err != nil {
		return err
	}
	naming := fanout.Naming(t.UserNames)
	if naming == "" {
		naming = fanout.Qualified
	}
	rendering := &fanout.Target{UserNames: naming, Mapping: mapper}
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	var errs []error
	for i := range s.users {
		u := &s.users[i]
		made, err := rendering.RenderUser(s.scope, u, s.tenant, s.departmentOf(u), u.Active())
		fmt.Fprintf(table, "  user %s\n", u.UserName)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: user %s: %w", t.Name, u.UserName, err))
			continue
		}
		listAttributes(table, schema.User, t.Mapping.User, made.UserName, withParts(t, made))
	}
	for i := range s.departments {
		d := &s.departments[i]
		made, err := rendering.RenderDepartment(s.scope, d, "")
		fmt.Fprintf(table, "  department %s\n", d.Code)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: department %s: %w", t.Name, d.Code, err))
			continue
		}
		listAttributes(table, schema.Department, t.Mapping.Department, made.Name, made.Mapped)
	}
	return errors.Join(append(errs, table.Flush())...)
}

// withParts adds the parts of a name, where the target is sent them, to what is
// mapped of an account.
func withParts(t *config.Target, u target.User) []target.Mapped {
	if t.Type != "scim" {
		return u.Mapped
	}
	all := u.Mapped
	if family, given, split := scimConfig(t).SplitName(u.DisplayName); split {
		for _, part := range []target.Mapped{{Name: "name.familyName", Value: family}, {Name: "name.givenName", Value: given}} {
			if !slices.ContainsFunc(all, func(m target.Mapped) bool { return m.Name == part.Name }) {
				all = append(all, part)
			}
		}
	}
	return all
}

func (s *sample) departmentOf(u *directory.User) *directory.Department {
	for i := range s.departments {
		if s.departments[i].Code == u.OrgCode {
			return &s.departments[i]
		}
	}
	return nil
}

// listAttributes prints the attributes of one object: those of the schema in its order,
// then the further ones. name is what the object is called by.
func listAttributes(w io.Writer, object mapping.Object, rules map[string]string, name string, mapped []target.Mapped) {
	values := make(map[string]any, len(mapped))
	for _, m := range mapped {
		values[m.Name] = m.Value
	}
	var names []string
	for _, a := range object.Attributes {
		if a.Part != mapping.Plain {
			values[a.Name] = name
		}
		if _, ok := values[a.Name]; ok {
			names = append(names, a.Name)
		}
	}
	for _, further := range slices.Sorted(maps.Keys(values)) {
		if !slices.Contains(names, further) {
			names = append(names, further)
		}
	}
	for _, n := range names {
		mark := " "
		if _, ok := rules[n]; ok {
			mark = "*"
		}
		fmt.Fprintf(w, "  %s %s\t%s\n", mark, n, shown(values[n]))
	}
}

// shown is a value as JSON writes it, a dash for none.
func shown(value any) string {
	if value == nil {
		return "–"
	}
	var b strings.Builder
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(value); err != nil {
		return err.Error() // strings, bools and numbers always encode
	}
	return strings.TrimSuffix(b.String(), "\n")
}
