package main

import (
	"fmt"
	"io"
	"os"
	"slices"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/spf13/cobra"

	"github.com/openkoo/connector/marketplace/explain"
)

func explainCommand(s *settings) *cobra.Command {
	var keyFile, at string
	var window time.Duration
	cmd := &cobra.Command{
		Use:     "explain-signature FILE",
		GroupID: "operate",
		Short:   "Why does this signature not hold? Take a captured call apart",
		Long: `Read a captured call (a curl command line, a HAR file or a raw HTTP request; - for
standard input) and show step by step what was signed and what should have been:
x-sign and signature of V2, authToken of V1 (kit and base), and the Body-Sign of
a V1 answer, which a HAR file holds beside the call and curl -i prints.
A signature that does not hold is compared with those that the known mistakes
would make, and the mistake is named. No access key is shown: the output may be
pasted into a ticket. The exit code is 0 when the signature holds, 2 when not.`,
		Example: `  orgsync explain-signature call.har
  pbpaste | orgsync explain-signature - --key-file access-key --at 2026-04-03T07:47:46Z`,
		Args: one("FILE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			moment, err := momentOf(at)
			if err != nil {
				return err
			}
			text, err := readCapture(cmd.InOrStdin(), args[0])
			if err != nil {
				return err
			}
			request, err := explain.Parse(text)
			if err != nil {
				return err
			}
			keys, err := s.allAccessKeys(keyFile)
			if err != nil {
				return err
			}
			report, err := explain.Explain(request, keys, window, moment)
			if err != nil {
				return err
			}
			showReport(cmd.OutOrStdout(), report)
			if !report.Valid {
				return exitError(2)
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&keyFile, "key-file", "", "file with the access keys, one a line (default this connector's)")
	cmd.Flags().StringVar(&at, "at", "", "when the call was made, as 2026-04-03T07:47:46Z (default as the capture says, or now)")
	cmd.Flags().DurationVar(&window, "window", time.Minute, "how far the timestamp may be from then")
	return cmd
}

// allAccessKeys are the access keys of kit and base interface: which of them a
// call is signed with is for the report to say.
func (s *settings) allAccessKeys(path string) ([]string, error) {
	keys, err := s.accessKeys(path)
	if err != nil || path != "" {
		return keys, err
	}
	c, err := s.load()
	if err != nil {
		return nil, err
	}
	for _, key := range c.BaseKeys() {
		if !slices.Contains(keys, key) {
			keys = append(keys, key)
		}
	}
	return keys, nil
}

func momentOf(text string) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	moment, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return time.Time{}, fmt.Errorf("--at %q: want a time such as 2026-04-03T07:47:46Z", text)
	}
	return moment, nil
}

// maxCapture bounds what is read of a capture, in bytes: as much as explain takes.
const maxCapture = 64 << 20

func readCapture(stdin io.Reader, path string) ([]byte, error) {
	source := stdin
	if path != "-" {
		file, err := os.Open(path)
		if err != nil {
			return nil, fmt.Errorf("capture: %w", err)
		}
		defer func() { _ = file.Close() }()
		source = file
	}
	text, err := io.ReadAll(io.LimitReader(source, maxCapture+1))
	if err != nil {
		return nil, fmt.Errorf("capture: %w", err)
	}
	return text, nil
}

func showReport(w io.Writer, report *explain.Report) {
	const widest = 100 // of the explaining column; longer texts are folded
	t := table.NewWriter()
	t.SetOutputMirror(w)
	t.SetStyle(table.StyleLight)
	t.SetColumnConfigs([]table.ColumnConfig{{Number: 2, WidthMax: widest}})
	for _, step := range report.Steps {
		t.AppendRow(table.Row{step.Title, step.Text})
	}
	t.Render()
	for _, finding := range report.Findings {
		fmt.Fprintf(w, "\nCause:  %s.\nRemedy: %s\n", finding.Cause, finding.Remedy)
	}
	if report.Valid {
		fmt.Fprintln(w, "\nThe signature holds.")
	}
}
