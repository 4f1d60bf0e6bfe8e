package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/openkoo/connector/directory"
	"github.com/openkoo/connector/marketplace/client"
	"github.com/openkoo/connector/secrets"
)

// pushFlags are what all `push` commands share.
type pushFlags struct {
	url, keyFile, instance, tenant, flag string
	app, publicKey                       string
	test, dryRun, strict, allowEmpty     bool
}

// pushKind is one of the `push` commands.
type pushKind struct {
	name, short, example string
	flags                []directory.Flag // the first is the default
	unique               string           // the column whose values may stand in one row only, if any
	calls                func(*callMaker, []row) []call
	columns              func(directory.Flag) []column
}

func pushKinds() []pushKind {
	return []pushKind{
		{
			"full", "The whole department list (allOrgSync)", "orgsync push full --tenant t1 --instance i1 departments.csv",
			[]directory.Flag{directory.FlagModify}, "orgCode", (*callMaker).full, departmentColumns,
		},
		{
			"org", "Departments one by one (singleOrgSync)", "orgsync push org --tenant t1 --instance i1 --flag delete gone.csv",
			[]directory.Flag{directory.FlagAdd, directory.FlagModify, directory.FlagDelete}, "", (*callMaker).departments, departmentColumns,
		},
		{
			"users", "Users, up to 500 in a call (authSync)", "orgsync push users --tenant t1 --instance i1 --app app-1 users.csv",
			[]directory.Flag{directory.FlagAdd, directory.FlagModify, directory.FlagDelete, directory.FlagCancel}, "userName", (*callMaker).users, userColumns,
		},
		{
			"tenant", "The enterprise (tenantSync)", "orgsync push tenant --tenant t1 --instance i1 tenant.json",
			[]directory.Flag{directory.FlagAdd, directory.FlagModify, directory.FlagDelete}, "", (*callMaker).tenants, tenantColumns,
		},
		{
			"app", "An application credential (applicationSync)", "orgsync push app --tenant t1 --public-key data/app-public-key.pem app.json",
			[]directory.Flag{directory.FlagAdd, directory.FlagModify, directory.FlagDelete}, "", (*callMaker).applications, applicationColumns,
		},
	}
}

func pushCommand(s *settings) *cobra.Command {
	f := &pushFlags{}
	cmd := group(&cobra.Command{
		Use:     "push",
		GroupID: "run",
		Short:   "Sign and send a file to any production address, as the marketplace would",
		Long: `Read a CSV or JSON file, sign it as the marketplace does, and send it to a
production address: this connector's, or any other server's.

A CSV file has a header line with the protocol's member names; a JSON file holds
a list of objects with those members, or one object. The whole file is checked
before anything is sent. The exit code is 0 when every call was answered 000000.`,
	})
	p := cmd.PersistentFlags()
	p.StringVar(&f.url, "url", "", "production address (default this connector's, http://localhost:8080/saasproduce)")
	p.StringVar(&f.keyFile, "key-file", "", "file with the access key (default this connector's)")
	p.StringVar(&f.tenant, "tenant", "", "tenantId (required)")
	p.StringVar(&f.instance, "instance", "", "instanceId, empty while credentials are created")
	p.BoolVar(&f.test, "test", false, "debugging data (testFlag 1)")
	p.BoolVar(&f.strict, "strict", false, "refuse a file with values that look damaged, by a spreadsheet say")
	p.BoolVar(&f.dryRun, "dry-run", false, "check the file, show the first call, send nothing")
	for _, kind := range pushKinds() {
		sub := &cobra.Command{
			Use: kind.name + " FILE", Short: kind.short, Args: one("FILE"), Example: "  " + kind.example,
			Long: kind.short + ".\n\n" + describe(kind.columns(kind.flags[0])),
			RunE: func(cmd *cobra.Command, args []string) error { return f.run(cmd, s, kind, args[0]) },
		}
		if len(kind.flags) > 1 {
			sub.Flags().StringVar(&f.flag, "flag", kind.flags[0].String(), flagNames(kind.flags))
		}
		switch kind.name {
		case "full":
			sub.Flags().BoolVar(&f.allowEmpty, "allow-empty", false, "send a file without rows: all departments are to go")
		case "users":
			sub.Flags().StringVar(&f.app, "app", "", "appId (required)")
		case "app":
			sub.Flags().StringVar(&f.publicKey, "public-key", "", "encrypt the file's clientSecret with this PEM public key, as the console does")
		}
		cmd.AddCommand(sub)
	}
	return cmd
}

func flagNames(flags []directory.Flag) string {
	names := make([]string, len(flags))
	for i, flag := range flags {
		names[i] = flag.String()
	}
	return strings.Join(names, ", ")
}

func (f *pushFlags) run(cmd *cobra.Command, s *settings, kind pushKind, path string) error {
	scope, flag, err := f.check(cmd, kind)
	if err != nil {
		return err
	}
	calls, doubts, err := f.read(kind, scope, flag, path)
	if err != nil {
		return err
	}
	if f.strict && len(doubts) > 0 {
		return fmt.Errorf("%w\nNothing was sent: --strict", errors.Join(doubts...))
	}
	for _, doubt := range doubts {
		fmt.Fprintln(cmd.ErrOrStderr(), "Warning:", doubt)
	}
	address := f.url
	if address == "" {
		c, err := s.load()
		if err != nil {
			return err
		}
		address = localAddress(c.Listen) + c.BasePath
	}
	if f.dryRun {
		return showCalls(cmd.OutOrStdout(), address, scope, flag, calls)
	}
	key, err := f.key(s)
	if err != nil {
		return err
	}
	c, err := client.New(address, key, client.Options{})
	if err != nil {
		return err
	}
	sender := &sender{
		out: cmd.OutOrStdout(), errOut: cmd.ErrOrStderr(), address: address,
		push: c.Push, scope: scope, flag: flag,
	}
	return sender.send(cmd.Context(), calls)
}

// check reads the flags.
func (f *pushFlags) check(cmd *cobra.Command, kind pushKind) (scope directory.Scope, flag directory.Flag, err error) {
	var errs []error
	if f.tenant == "" {
		errs = append(errs, errors.New("--tenant is missing: the tenantId of the enterprise"))
	}
	if kind.name == "users" && f.app == "" {
		errs = append(errs, errors.New("--app is missing: the appId that the users are authorised for"))
	}
	flag = kind.flags[0]
	if cmd.Flags().Changed("flag") {
		i := slices.IndexFunc(kind.flags, func(known directory.Flag) bool { return known.String() == f.flag })
		if i < 0 {
			errs = append(errs, fmt.Errorf("--flag %q: want %s", f.flag, flagNames(kind.flags)))
		} else {
			flag = kind.flags[i]
		}
	}
	scope = directory.Scope{Dataset: directory.Prod, InstanceID: f.instance, TenantID: f.tenant}
	if f.test {
		scope.Dataset = directory.Test
	}
	return scope, flag, errors.Join(errs...)
}

// read checks the whole file and makes calls of it.
func (f *pushFlags) read(kind pushKind, scope directory.Scope, flag directory.Flag, path string) (calls []call, doubts []error, err error) {
	rows, doubts, err := readRows(path, kind.columns(flag))
	if err != nil {
		return nil, nil, err
	}
	maker := &callMaker{file: path, app: f.app, scope: scope, flag: flag, empty: f.allowEmpty}
	if f.publicKey != "" {
		if maker.publicKey, err = secrets.ReadFile(f.publicKey); err != nil {
			return nil, nil, fmt.Errorf("--public-key: %w", err)
		}
	}
	calls = kind.calls(maker, rows)
	if len(maker.errs) == 0 {
		maker.check(kind, rows)
	}
	return calls, doubts, errors.Join(maker.errs...)
}

// key is the access key to sign with: the newest of several.
func (f *pushFlags) key(s *settings) (string, error) {
	keys, err := s.accessKeys(f.keyFile)
	if err != nil {
		return "", err
	}
	return keys[0], nil
}
