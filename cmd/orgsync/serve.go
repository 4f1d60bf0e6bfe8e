package main

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"

	"github.com/spf13/cobra"

	"github.com/openkoo/connector/config"
)

func serveCommand(s *settings) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "serve",
		GroupID: "run",
		Short:   "Run the connector: the production address, the fan-out and the API",
		Long: `Run the connector. Without any configuration it keeps its data and generated
keys in ./data and listens on :8080. Settings come from a YAML file (--config),
the environment (ORGSYNC_…) and flags, the latter winning; docs/configuration.md
lists them.`,
		Example: `  orgsync serve
  orgsync serve --config orgsync.yaml
  ORGSYNC_LISTEN=127.0.0.1:9000 orgsync serve`,
		Args: none,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := s.load()
			if err != nil {
				return err
			}
			// Before any key is made: what was made must be told once, by the
			// process that then runs.
			listener, err := net.Listen("tcp", c.Listen)
			if err != nil {
				return fmt.Errorf("listen on %s: %w; choose another address with --listen or ORGSYNC_LISTEN", c.Listen, cause(err))
			}
			defer func() { _ = listener.Close() }()
			logger := newLogger(cmd.ErrOrStderr(), c.Log)
			a, err := newApp(cmd.Context(), c, logger)
			if cmd.Context().Err() != nil && err != nil {
				return nil // stopped while starting
			}
			if err != nil {
				return err
			}
			greet(cmd.OutOrStdout(), c, listener.Addr(), a.made)
			return a.run(cmd.Context(), listener)
		},
	}
	cmd.Flags().StringVar(&s.listen, "listen", "", "address to listen on (default :8080)")
	return cmd
}

// greet says where everything is, in one piece: who reads one line of it may
// read all of it.
func greet(out io.Writer, c *config.Config, addr net.Addr, made []string) {
	w := &bytes.Buffer{}
	defer func() { _, _ = w.WriteTo(out) }()
	if len(made) > 0 {
		fmt.Fprintln(w, "Made these secrets, readable by you alone; keep them with your backups:")
		for _, path := range made {
			fmt.Fprintln(w, "  "+path)
		}
		fmt.Fprintln(w, "`orgsync keys` shows what to paste into the seller console.")
	}
	base := localAddress(addr.String())
	fmt.Fprintf(w, "Production address  %s%s   (behind HTTPS on port 443 for the marketplace)\n", base, c.BasePath)
	fmt.Fprintf(w, "API                 %s/api/v1\n", base)
	if len(c.Targets) == 0 {
		fmt.Fprintln(w, "No targets are configured: the directory is kept and served, and goes nowhere else.")
	}
	for _, t := range c.Targets {
		fmt.Fprintf(w, "Target              %s (%s) %s\n", t.Name, t.Type, whereabouts(&t))
	}
}

func newLogger(w io.Writer, c config.Log) *slog.Logger {
	var level slog.Level
	if err := level.UnmarshalText([]byte(strings.ToUpper(c.Level))); err != nil {
		level = slog.LevelInfo
	}
	options := &slog.HandlerOptions{Level: level}
	if c.Format == "json" {
		return slog.New(slog.NewJSONHandler(w, options))
	}
	return slog.New(slog.NewTextHandler(w, options))
}
