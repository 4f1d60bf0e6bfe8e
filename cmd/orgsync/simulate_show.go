package main

import (
	"fmt"
	"io"
	"net/url"
	"strings"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"

	"github.com/openkoo/connector/marketplace/simulate"
	"github.com/openkoo/connector/target/egress"
)

// maxFindings bounds the findings of one kind that are shown in full.
const maxFindings = 3

// widestTitle and narrowestTitle bound the column of titles, in characters;
// longer titles are folded.
const widestTitle, narrowestTitle = 78, 24

// titles is the column of titles beside others of so many characters, as wide as
// the terminal lets it be.
func titles(w io.Writer, others int) table.ColumnConfig {
	most := widestTitle
	if width := widthOf(w); width > 0 {
		most = max(narrowestTitle, min(most, width-others))
	}
	return table.ColumnConfig{Number: 2, WidthMax: most, WidthMaxEnforcer: text.WrapSoft}
}

func listCases(w io.Writer, cases []simulate.Case) {
	t := table.NewWriter()
	t.SetOutputMirror(w)
	t.SetStyle(table.StyleLight)
	t.AppendHeader(table.Row{"Case", "What happens", "Spec"})
	t.SetColumnConfigs([]table.ColumnConfig{titles(w, len("| kit-v2-signature-01 |  | §4 updateInstanceStatus |"))})
	for i := range cases {
		t.AppendRow(table.Row{cases[i].ID, cases[i].Title, cases[i].Section})
	}
	t.Render()
	fmt.Fprintf(w, "%d cases\n", len(cases))
}

func showSimulation(w io.Writer, report *simulate.Report) {
	t := table.NewWriter()
	t.SetOutputMirror(w)
	t.SetStyle(table.StyleLight)
	t.AppendHeader(table.Row{"Case", "What happens", "Outcome", "ms"})
	t.SetColumnConfigs([]table.ColumnConfig{titles(w, len("| kit-v2-signature-01 |  | FAILED new-instance-per-repeat | 10000 |"))})
	for i := range report.Results {
		r := &report.Results[i]
		outcome := "ok"
		switch r.Outcome {
		case simulate.Failed:
			outcome = "FAILED " + string(r.Finding.Kind)
		case simulate.Skipped:
			outcome = "skipped"
		default:
		}
		t.AppendRow(table.Row{r.ID, r.Title, outcome, time.Duration(r.Took).Milliseconds()})
	}
	t.Render()
	showWrongAnswers(w, report)
	showSkipped(w, report)
	if u, err := url.Parse(report.Address); err == nil && egress.CheckPlaintext(u, false) != nil {
		fmt.Fprintln(w, "\nNote: the marketplace calls https:// on port 443 alone. Play against that address too, for its certificate.")
	}
	data := "debugging data (testFlag 1)"
	if report.Production {
		data = "production data (testFlag 0)"
	}
	fmt.Fprintf(w, "\n%d of %d cases passed, %d failed, %d skipped: %d calls with %s to %s in %s.\n",
		report.Passed, len(report.Results), report.Failed, report.Skipped, report.Calls, data, report.Address, time.Duration(report.Took).Round(time.Millisecond))
}

// showWrongAnswers shows the first findings of each kind in full, and names the
// other cases: what is wrong in one place is often wrong in fifty answers.
func showWrongAnswers(w io.Writer, report *simulate.Report) {
	shown := make(map[simulate.Kind]int)
	others := make(map[simulate.Kind][]string)
	var kinds []simulate.Kind
	for i := range report.Results {
		r := &report.Results[i]
		if r.Finding == nil {
			continue
		}
		kind := r.Finding.Kind
		if shown[kind] == 0 {
			kinds = append(kinds, kind)
		}
		if shown[kind]++; shown[kind] > maxFindings {
			others[kind] = append(others[kind], r.ID)
			continue
		}
		fmt.Fprintf(w, "\n%s %s: %s\n  %s\n", r.ID, kind, r.Title, strings.Join(r.Finding.Lines(r.Section), "\n  "))
	}
	for _, kind := range kinds {
		if len(others[kind]) > 0 {
			fmt.Fprintf(w, "\n%s in %d more cases (--json has all of them): %s\n", kind, len(others[kind]), few(others[kind]))
		}
	}
}

// few names the first of many.
func few(ids []string) string {
	const most = 8
	text := strings.Join(ids[:min(len(ids), most)], ", ")
	if more := len(ids) - most; more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	return text
}

// showSkipped tells each reason once.
func showSkipped(w io.Writer, report *simulate.Report) {
	cases := make(map[string][]string)
	var reasons []string
	for i := range report.Results {
		r := &report.Results[i]
		if r.Outcome != simulate.Skipped {
			continue
		}
		if len(cases[r.Reason]) == 0 {
			reasons = append(reasons, r.Reason)
		}
		cases[r.Reason] = append(cases[r.Reason], r.ID)
	}
	for _, reason := range reasons {
		fmt.Fprintf(w, "\nSkipped, %s: %s\n", reason, few(cases[reason]))
	}
}
