package main

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"strings"

	"github.com/spf13/cobra"

	"github.com/openkoo/connector/config"
)

// settings are the flags that all commands share.
type settings struct {
	config, listen, dataDir string
	environ                 []string // as os.Environ gives it
}

func rootCommand(environ []string) *cobra.Command {
	s := &settings{environ: environ}
	root := group(&cobra.Command{
		Use:   "orgsync",
		Short: "Keep identity providers in step with an enterprise's directory on Huawei Cloud KooGallery",
		Long: `orgsync is the production address of a seller on Huawei Cloud KooGallery (华为云商店).
It takes the marketplace's signed pushes, keeps the directory, keeps every
target (SCIM, LDAP, Keycloak, webhook) in line, and answers "is it synced?".

New here?   orgsync demo     an enterprise is bound, edited and followed; nothing to set up
Next:       orgsync serve    the real thing, with generated keys in ./data`,
		Version:       version(),
		SilenceUsage:  true,
		SilenceErrors: true,
	})
	root.SetVersionTemplate("orgsync {{.Version}}\n")
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return fmt.Errorf("%w; see `%s --help`", err, cmd.CommandPath())
	})
	root.PersistentFlags().StringVar(&s.config, "config", "", "YAML file with the configuration (default ORGSYNC_CONFIG)")
	root.PersistentFlags().StringVar(&s.dataDir, "data-dir", "", "directory of store and keys (default ./data)")
	root.AddGroup(&cobra.Group{ID: "run", Title: "Run it:"}, &cobra.Group{ID: "operate", Title: "Look after it:"})
	root.AddCommand(
		serveCommand(s), demoCommand(), pushCommand(s), simulateCommand(s),
		statusCommand(s), journalCommand(s), keysCommand(s), holdsCommand(s), resyncCommand(s), restoreCommand(s), mappingCommand(s), migrateCommand(s), doctorCommand(s), explainCommand(s),
	)
	sanitise(root)
	return root
}

// group makes a command that has commands of its own: by itself it shows its
// help, and a command it does not have is an error that names the nearest.
func group(cmd *cobra.Command) *cobra.Command {
	cmd.SuggestionsMinimumDistance = 2
	cmd.Args = func(cmd *cobra.Command, args []string) error {
		if len(args) == 0 {
			return nil
		}
		hint := ""
		if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
			hint = "; did you mean " + strings.Join(near, " or ") + "?"
		}
		return fmt.Errorf("%s has no command %q%s; see `%s --help`", cmd.CommandPath(), args[0], hint, cmd.CommandPath())
	}
	cmd.RunE = func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
	return cmd
}

// one takes a single argument, named as in the command's use.
func one(name string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) == 1 {
			return nil
		}
		return fmt.Errorf("want one %s, got %d: %s; see `%s --help`", name, len(args), cmd.UseLine(), cmd.CommandPath())
	}
}

// none takes no argument.
func none(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	return fmt.Errorf("%s takes no argument, got %q; see `%s --help`", cmd.CommandPath(), args[0], cmd.CommandPath())
}

// load reads the configuration with the flags on top.
func (s *settings) load() (*config.Config, error) {
	c, err := s.read()
	if err != nil {
		return nil, fmt.Errorf("the configuration has faults:\n%w\nSettings and their values: docs/configuration.md", err)
	}
	return c, nil
}

// read reads the configuration; its error joins the faults.
func (s *settings) read() (*config.Config, error) {
	flags := make(map[string]any)
	if s.listen != "" {
		flags["listen"] = s.listen
	}
	if s.dataDir != "" {
		flags["dataDir"] = s.dataDir
	}
	path := s.config
	if path == "" {
		path = s.lookup(config.Prefix + "CONFIG")
	}
	c, err := config.Load(path, s.environ, flags)
	if c != nil {
		err = nameTargets(c.Targets, errors.Join(err, checkTargets(c.Targets)))
	}
	return c, err
}

func (s *settings) lookup(name string) string {
	for _, entry := range s.environ {
		if value, ok := strings.CutPrefix(entry, name+"="); ok {
			return value
		}
	}
	return ""
}

// localAddress is where a connector that listens there is reached from here.
func localAddress(listen string) string {
	host, port, err := net.SplitHostPort(listen)
	if err != nil {
		return "http://" + listen
	}
	if ip := net.ParseIP(host); host == "" || (ip != nil && ip.IsUnspecified()) {
		host = "localhost"
	}
	return "http://" + net.JoinHostPort(host, port)
}

// cause is an error of the operating system without what the message around it
// says already.
func cause(err error) error {
	if path, ok := errors.AsType[*fs.PathError](err); ok {
		return path.Err
	}
	if operation, ok := errors.AsType[*net.OpError](err); ok {
		return operation.Err
	}
	return err
}
