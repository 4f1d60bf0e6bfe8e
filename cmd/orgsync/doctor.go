package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/jedib0t/go-pretty/v6/text"
	"github.com/spf13/cobra"

	"github.com/openkoo/connector/doctor"
)

// doctorTimeout is how long one check may take, unless told otherwise. They run
// side by side.
const doctorTimeout = 15 * time.Second

func doctorCommand(s *settings) *cobra.Command {
	var api apiFlags
	var public string
	var asJSON bool
	var timeout time.Duration
	cmd := &cobra.Command{
		Use:     "doctor",
		GroupID: "operate",
		Short:   "What is wrong here, and what to do about it",
		Long: `Examine the installation and say for each thing that is not well what to do:
configuration, keys and their files, store, Redis, every target (a harmless
question with its credentials; a webhook is only connected to), the seller's
server that is told of instances (connected to as well), clocks, and the
public address: HTTPS, port, name, certificate, and whether a call sent there
arrives at a connector with this access key. It may be run beside a connector.

Nothing is changed, and no secret is shown: the output may be pasted into a
ticket. The exit code is 0 when all is well, 1 for warnings, 2 for problems.`,
		Example: `  orgsync doctor
  orgsync doctor --config orgsync.yaml --public-url https://isv.example.com/saasproduce
  orgsync doctor --json`,
		Args: none,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if timeout <= 0 {
				return fmt.Errorf("--timeout %s: want more than 0", timeout)
			}
			findings, err := diagnose(cmd.Context(), s, &api, public, timeout)
			if cmd.Context().Err() != nil {
				return nil
			}
			if err != nil {
				return err
			}
			if asJSON {
				err = writeFindings(cmd.OutOrStdout(), findings)
			} else {
				showFindings(cmd.OutOrStdout(), findings)
			}
			if err != nil {
				return err
			}
			return exitForLevel(doctor.Worst(findings))
		},
	}
	api.add(cmd)
	cmd.Flags().StringVar(&public, "public-url", "", "the production address as registered in the seller console (default the setting publicUrl)")
	cmd.Flags().BoolVar(&asJSON, "json", false, "write the findings as JSON")
	cmd.Flags().DurationVar(&timeout, "timeout", doctorTimeout, "how long one check may take")
	return cmd
}

func exitForLevel(level doctor.Level) error {
	switch level {
	case doctor.Problem:
		return exitError(2)
	case doctor.Warning:
		return exitError(1)
	default:
		return nil
	}
}

// diagnose examines the configuration, and what it describes if it is without
// faults.
func diagnose(ctx context.Context, s *settings, api *apiFlags, public string, timeout time.Duration) ([]doctor.Finding, error) {
	c, err := s.read()
	if err == nil {
		_, err = provisionerOf(&c.Instances) // refused when serving, too
	}
	if err != nil {
		return doctor.Examine(ctx, []doctor.Check{doctor.CheckConfiguration(faultsOf(err), "")}, timeout), nil
	}
	if public != "" {
		c.PublicURL = public
	}
	e := &examination{config: c}
	defer e.close()
	if err := e.prepare(api); err != nil {
		return nil, err
	}
	return doctor.Examine(ctx, e.checks(), timeout), nil
}

// faultsOf takes apart what was joined.
func faultsOf(err error) []error {
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		return []error{err}
	}
	var all []error
	for _, one := range joined.Unwrap() {
		all = append(all, faultsOf(one)...)
	}
	return all
}

func writeFindings(w io.Writer, findings []doctor.Finding) error {
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	return encoder.Encode(struct {
		Level    doctor.Level     `json:"level"`
		Findings []doctor.Finding `json:"findings"`
	}{doctor.Worst(findings), findings})
}

func showFindings(w io.Writer, findings []doctor.Finding) {
	const widest = 100 // of the last column; longer texts are folded
	name := 0
	for _, f := range findings {
		name = max(name, len(f.Check))
	}
	counts := make(map[doctor.Level]int)
	indent := strings.Repeat(" ", len("problem  ")+name+2)
	folded := func(prefix, message string) string {
		lines := strings.Split(text.WrapSoft(message, widest), "\n")
		for i := range lines {
			lines[i] = strings.TrimRight(lines[i], " ")
		}
		return prefix + strings.Join(lines, "\n"+indent+strings.Repeat(" ", text.StringWidth(prefix)))
	}
	for _, f := range findings {
		counts[f.Level]++
		fmt.Fprintf(w, "%-9s%-*s  %s\n", f.Level, name, f.Check, folded("", f.Message))
		if f.Next != "" {
			fmt.Fprintln(w, indent+folded("→ ", f.Next))
		}
	}
	switch problems, warnings := counts[doctor.Problem], counts[doctor.Warning]; {
	case problems+warnings == 0:
		fmt.Fprintln(w, "\nAll is well.")
	default:
		fmt.Fprintf(w, "\n%s, %s.\n", plural(problems, "problem"), plural(warnings, "warning"))
	}
}

func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
