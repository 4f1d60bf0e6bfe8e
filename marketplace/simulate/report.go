package simulate

import (
	"encoding/json"
	"encoding/xml"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"
)

// Outcome is what came of a case.
type Outcome string

// The outcomes. What was skipped has a reason.
const (
	Passed  Outcome = "passed"
	Failed  Outcome = "failed"
	Skipped Outcome = "skipped"
)

// Seconds is a duration that reports write in seconds.
type Seconds time.Duration

// MarshalJSON writes seconds with three decimals.
func (s Seconds) MarshalJSON() ([]byte, error) { return []byte(s.text()), nil }

func (s Seconds) text() string { return strconv.FormatFloat(time.Duration(s).Seconds(), 'f', 3, 64) }

// Result is what came of one case.
type Result struct {
	ID      string   `json:"id"`
	Title   string   `json:"title"`
	Section string   `json:"section"`
	Outcome Outcome  `json:"outcome"`
	Reason  string   `json:"reason,omitempty"` // of what was skipped
	Finding *Finding `json:"finding,omitempty"`
	Calls   int64    `json:"calls"`
	Took    Seconds  `json:"seconds"`
}

// family is a case's id without its number.
func (r *Result) family() string { return r.ID[:strings.LastIndexByte(r.ID, '-')] }

// Report is what came of a run.
type Report struct {
	Address    string    `json:"address"`
	Production bool      `json:"production"`
	Started    time.Time `json:"started"`
	Took       Seconds   `json:"seconds"`
	Seed       uint64    `json:"seed"`
	Calls      int64     `json:"calls"`
	Passed     int       `json:"passed"`
	Failed     int       `json:"failed"`
	Skipped    int       `json:"skipped"`
	Results    []Result  `json:"results"`
}

func (r *Report) add(result *Result) {
	r.Results = append(r.Results, *result)
	switch result.Outcome {
	case Passed:
		r.Passed++
	case Failed:
		r.Failed++
	default:
		r.Skipped++
	}
}

// JSON writes the report for programs.
func (r *Report) JSON(w io.Writer) error {
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	if err := encoder.Encode(r); err != nil {
		return fmt.Errorf("write JSON report: %w", err)
	}
	return nil
}

// The elements of a JUnit file, as CI servers read them.
type (
	junitSuites struct {
		XMLName xml.Name      `xml:"testsuites"`
		Name    string        `xml:"name,attr"`
		Tests   int           `xml:"tests,attr"`
		Fails   int           `xml:"failures,attr"`
		Skipped int           `xml:"skipped,attr"`
		Time    string        `xml:"time,attr"`
		Suites  []*junitSuite `xml:"testsuite"`
	}
	junitSuite struct {
		Name      string      `xml:"name,attr"`
		Tests     int         `xml:"tests,attr"`
		Fails     int         `xml:"failures,attr"`
		Skipped   int         `xml:"skipped,attr"`
		Timestamp string      `xml:"timestamp,attr"`
		Cases     []junitCase `xml:"testcase"`
	}
	junitCase struct {
		Class   string        `xml:"classname,attr"`
		Name    string        `xml:"name,attr"`
		Time    string        `xml:"time,attr"`
		Failure *junitMessage `xml:"failure"`
		Skipped *junitMessage `xml:"skipped"`
	}
	junitMessage struct {
		Type    string `xml:"type,attr,omitempty"`
		Message string `xml:"message,attr"`
		Text    string `xml:",chardata"`
	}
)

// JUnit writes the report for CI servers: a test suite for each family of
// cases, and a test for each case.
func (r *Report) JUnit(w io.Writer) error {
	all := junitSuites{Name: "orgsync simulate " + r.Address, Tests: len(r.Results), Fails: r.Failed, Skipped: r.Skipped, Time: r.Took.text()}
	for i := range r.Results {
		all.add(&r.Results[i], r.Started)
	}
	if _, err := io.WriteString(w, xml.Header); err != nil {
		return fmt.Errorf("write JUnit report: %w", err)
	}
	encoder := xml.NewEncoder(w)
	encoder.Indent("", "  ")
	if err := encoder.Encode(all); err != nil {
		return fmt.Errorf("write JUnit report: %w", err)
	}
	return nil
}

func (s *junitSuites) add(result *Result, started time.Time) {
	if n := len(s.Suites); n == 0 || s.Suites[n-1].Name != result.family() {
		s.Suites = append(s.Suites, &junitSuite{Name: result.family(), Timestamp: started.UTC().Format("2006-01-02T15:04:05")})
	}
	suite := s.Suites[len(s.Suites)-1]
	c := junitCase{Class: result.family(), Name: result.ID + " " + result.Title, Time: result.Took.text()}
	suite.Tests++
	switch result.Outcome {
	case Failed:
		suite.Fails++
		f := result.Finding
		c.Failure = &junitMessage{Type: string(f.Kind), Message: f.String(), Text: strings.Join(f.Lines(result.Section), "\n")}
	case Skipped:
		suite.Skipped++
		c.Skipped = &junitMessage{Message: result.Reason}
	default:
	}
	suite.Cases = append(suite.Cases, c)
}

// Lines are a finding for people, one line each.
func (f *Finding) Lines(section string) []string {
	lines := []string{
		"step      " + f.Step,
		"expected  " + f.Expected + " (" + section + ")",
		"got       " + f.Got,
		"fix       " + f.Remedy,
	}
	if f.Request != "" {
		lines = append(lines, "request   "+f.Request)
	}
	if f.Answer != "" {
		lines = append(lines, "answer    "+f.Answer)
	}
	return lines
}
