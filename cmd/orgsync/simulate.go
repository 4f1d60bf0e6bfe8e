package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/openkoo/connector/config"
	"github.com/openkoo/connector/marketplace/simulate"
	"github.com/openkoo/connector/secrets"
)

// exitFindings and exitCannotRun are the exit codes of a simulation, so that
// CI can tell a wrong answer from one that was never asked for.
const (
	exitFindings  = 1
	exitCannotRun = 2
)

// simulateFlags are those of `simulate`.
type simulateFlags struct {
	keyFile, baseKeyFile, publicKey string
	only, skip                      []string
	list                            bool
	junit, json                     string
	options                         simulate.Options
}

func simulateCommand(s *settings) *cobra.Command {
	f := &simulateFlags{}
	cmd := &cobra.Command{
		Use:     "simulate",
		GroupID: "run",
		Short:   "Play the marketplace against any production address, and judge its answers",
		Long: `Play the marketplace against a production address, this connector's or any other
server's: its debugging cases, repeats, late pushes, bad signatures, bad input,
and the life of an enterprise. Every answer is held to the protocol, and what is
wrong is told with what was expected and how to mend it.

Nothing is needed on the other side but its address and its access keys, which
are never shown. What is sent is debugging data (testFlag 1), with ids of its
own, and is taken away again.

The exit code is 0 when all is well, 1 when something is not, 2 when the
simulation could not run.`,
		Example: `  orgsync simulate                                        against this connector
  orgsync simulate --url https://isv.example.com/saasproduce --key-file access-key --junit junit.xml
  orgsync simulate --only v1                              the interfaces of V1
  orgsync simulate --only signature --list                which cases are about signatures?`,
		Args: none,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if f.list {
				cases, err := f.cases(nil)
				if err != nil {
					return cannotRun(cmd, err)
				}
				listCases(cmd.OutOrStdout(), cases)
				return nil
			}
			return f.run(cmd, s)
		},
	}
	cmd.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return cannotRun(cmd, fmt.Errorf("%w; see `%s --help`", err, cmd.CommandPath()))
	})
	f.add(cmd)
	return cmd
}

// add declares the flags.
func (f *simulateFlags) add(cmd *cobra.Command) {
	p, o := cmd.Flags(), &f.options
	p.StringVar(&o.Address, "url", "", "production address (default this connector's, http://localhost:8080/saasproduce)")
	p.StringVar(&f.keyFile, "key-file", "", "file with the access keys, the newest first (default this connector's)")
	p.StringVar(&f.baseKeyFile, "base-key-file", "", "the same of the base interface (default as the kit's)")
	p.StringVar(&f.publicKey, "public-key", "", "PEM of the key that client secrets are encrypted with (default this connector's)")
	p.StringVar(&o.InstanceID, "instance", "", "instanceId of the kit's calls (default one that is ordered first)")
	p.StringSliceVar(&f.only, "only", nil, "play these: parts of ids, such as v1, base, kit-v2-04 (default kit-v2,base-v2,life-v2)")
	p.StringSliceVar(&f.skip, "skip", nil, "and not these")
	p.BoolVar(&f.list, "list", false, "list the cases, play none")
	p.BoolVar(&o.Production, "production", false, "send testFlag 0: the other side takes all of it for real")
	p.IntVar(&o.Life.Days, "days", 5, "how long the enterprise lives")
	p.IntVar(&o.Life.Departments, "departments", 60, "its departments on the first day")
	p.IntVar(&o.Life.Users, "users", 200, "its users on the first day")
	p.Uint64Var(&o.Life.Seed, "seed", 1, "of chance: the same seed, the same life")
	p.DurationVar(&o.Timeout, "timeout", 0, "for one answer (default 30s)")
	p.DurationVar(&o.Slow, "slow", 0, "answers that take longer are a finding (default 5s)")
	p.DurationVar(&o.Patience, "patience", 0, `for an instance that is "processing" (default 30s)`)
	p.StringVar(&f.junit, "junit", "", "write the outcome to this file as JUnit XML")
	p.StringVar(&f.json, "json", "", "write the outcome to this file as JSON")
}

// cannotRun tells why there is no outcome.
func cannotRun(cmd *cobra.Command, err error) error {
	fmt.Fprintln(cmd.ErrOrStderr(), "Error:", err)
	return exitError(exitCannotRun)
}

// cases are those that are asked for; standard names what is played otherwise,
// none all.
func (f *simulateFlags) cases(standard []string) ([]simulate.Case, error) {
	cases := simulate.Catalogue()
	names := f.only
	if len(names) == 0 {
		names = standard
	}
	var err error
	if len(names) > 0 {
		if cases, err = simulate.Select(cases, names); err != nil {
			return nil, fmt.Errorf("--only: %w", err)
		}
	}
	if len(f.skip) > 0 {
		if cases, err = simulate.Without(cases, f.skip); err != nil {
			return nil, fmt.Errorf("--skip: %w", err)
		}
	}
	return cases, nil
}

func (f *simulateFlags) run(cmd *cobra.Command, s *settings) error {
	cases, err := f.cases(simulate.Default())
	if err == nil {
		err = f.complete(s)
	}
	if err != nil {
		return cannotRun(cmd, err)
	}
	if f.options.Production {
		fmt.Fprintln(cmd.ErrOrStderr(), "Warning: --production sends testFlag 0. The other side takes the calls for real: it may provision, notify people, and bill.")
	}
	tick := func(int64) {}
	f.options.Progress = func(n int) { tick(int64(n)) }
	runner, err := simulate.New(cases, f.options)
	if err != nil {
		return cannotRun(cmd, err)
	}
	var done func(bool)
	tick, done = showProgress(cmd.ErrOrStderr(), "Simulating", int64(runner.Steps()))
	report, err := runner.Run(cmd.Context())
	done(err == nil)
	if report == nil {
		return cannotRun(cmd, err)
	}
	showSimulation(cmd.OutOrStdout(), report)
	if written := errors.Join(writeReport(f.junit, report.JUnit), writeReport(f.json, report.JSON)); written != nil {
		return cannotRun(cmd, written)
	}
	switch {
	case errors.Is(err, context.Canceled):
		return exitError(exitInterrupted)
	case err != nil:
		return cannotRun(cmd, err)
	case report.Failed > 0:
		return exitError(exitFindings)
	}
	return nil
}

// complete fills in what was not given from this connector's configuration.
func (f *simulateFlags) complete(s *settings) error {
	c, err := s.load()
	if err != nil {
		return err
	}
	o := &f.options
	if o.Address == "" {
		o.Address = localAddress(c.Listen) + c.BasePath
	}
	if o.KitKeys, err = s.accessKeys(f.keyFile); err != nil {
		return err
	}
	switch {
	case f.baseKeyFile != "":
		if o.BaseKeys, err = s.accessKeys(f.baseKeyFile); err != nil {
			return err
		}
	case len(c.BaseAccessKeys) > 0:
		o.BaseKeys = c.BaseKeys()
	}
	path := f.publicKey
	if path == "" && f.keyFile == "" {
		path = filepath.Join(c.DataDir, config.PublicKeyFile)
	}
	if path == "" {
		return nil
	}
	o.PublicKey, err = secrets.ReadFile(path)
	if err != nil && (f.publicKey != "" || !errors.Is(err, fs.ErrNotExist)) {
		return fmt.Errorf("--public-key: %w", err)
	}
	return nil
}

func writeReport(path string, write func(io.Writer) error) (err error) {
	if path == "" {
		return nil
	}
	file, err := os.Create(path)
	if err != nil {
		return fmt.Errorf("write report: %w", err)
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	return write(file)
}
