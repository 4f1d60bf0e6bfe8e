// Package docs runs what the documentation shows on the built program, and
// compares what it says of the output.
package docs

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// block is a fenced block of a document.
type block struct {
	lang, text string
	line       int
}

// blocksOf finds the fenced blocks of a document, in order.
func blocksOf(text string) []block {
	var blocks []block
	var open *block
	for i, line := range strings.Split(text, "\n") {
		switch {
		case open == nil && strings.HasPrefix(line, "```"):
			open = &block{lang: strings.TrimPrefix(line, "```"), line: i + 2}
		case open != nil && line == "```":
			blocks = append(blocks, *open)
			open = nil
		case open != nil:
			open.text += line + "\n"
		}
	}
	return blocks
}

// step is a command of a document with what is shown of its outcome.
type step struct {
	command string
	output  []string // lines; "…" stands for anything
	json    string   // the JSON block that follows, in place of output
	code    int
	line    int
}

var exitCode = regexp.MustCompile(`^\[exit code (\d+)\]$`)

// stepsOf reads the commands of a document: all of an sh block, and the lines
// after "$ " of a console block. A JSON block right after a console block is
// the answer of its last command.
func stepsOf(text string) []step {
	var steps []step
	before := ""
	for _, b := range blocksOf(text) {
		switch b.lang {
		case "sh":
			steps = append(steps, step{command: b.text, output: []string{"…"}, line: b.line})
		case "console":
			steps = append(steps, consoleSteps(b)...)
		case "json":
			if before == "console" {
				steps[len(steps)-1].json = b.text
			}
		}
		before = b.lang
	}
	return steps
}

func consoleSteps(b block) []step {
	var steps []step
	continued := false
	for i, line := range strings.Split(strings.TrimSuffix(b.text, "\n"), "\n") {
		last := len(steps) - 1
		command, isCommand := strings.CutPrefix(line, "$ ")
		switch {
		case isCommand:
			steps = append(steps, step{command: command, line: b.line + i})
		case continued:
			steps[last].command += "\n" + line
		case exitCode.MatchString(line):
			_, _ = fmt.Sscan(exitCode.FindStringSubmatch(line)[1], &steps[last].code)
		default:
			steps[last].output = append(steps[last].output, line)
		}
		continued = (isCommand || continued) && strings.HasSuffix(line, `\`)
	}
	return steps
}

// matches reports whether output is what a document shows of it. "…" in a line
// stands for anything in it, a line "…" for any lines.
func matches(shown []string, output string) bool {
	var pattern strings.Builder
	pattern.WriteString(`^`)
	for _, line := range shown {
		if line == "…" {
			pattern.WriteString(`(?:.*\n)*?`)
			continue
		}
		parts := strings.Split(line, "…")
		for i := range parts {
			parts[i] = regexp.QuoteMeta(parts[i])
		}
		pattern.WriteString(strings.TrimRight(strings.Join(parts, `.*`), " ") + ` *\n`)
	}
	pattern.WriteString(`$`)
	if output != "" && !strings.HasSuffix(output, "\n") {
		output += "\n"
	}
	return regexp.MustCompile(pattern.String()).MatchString(output)
}

// sameJSON compares an answer with the one shown: "…" stands for any value, as
// the last entry of a list for any further ones.
func sameJSON(shown, answer string) error {
	var want, got any
	if err := json.Unmarshal([]byte(shown), &want); err != nil {
		return fmt.Errorf("the document's JSON: %w", err)
	}
	if err := json.Unmarshal([]byte(answer), &got); err != nil {
		return fmt.Errorf("the answer is no JSON: %w: %s", err, answer)
	}
	return same("answer", want, got)
}

func same(path string, want, got any) error {
	if text, ok := want.(string); ok && strings.Contains(text, "…") {
		if text == "…" {
			return nil
		}
		if words, ok := got.(string); ok && matches([]string{text}, words) {
			return nil
		}
	}
	switch want := want.(type) {
	case map[string]any:
		got, ok := got.(map[string]any)
		if !ok {
			return fmt.Errorf("%s: not an object", path)
		}
		for name, value := range want {
			if _, ok := got[name]; !ok {
				return fmt.Errorf("%s.%s: not there", path, name)
			}
			if err := same(path+"."+name, value, got[name]); err != nil {
				return err
			}
		}
		for name := range got {
			if _, ok := want[name]; !ok {
				return fmt.Errorf("%s.%s: there, and not shown", path, name)
			}
		}
		return nil
	case []any:
		got, ok := got.([]any)
		if !ok {
			return fmt.Errorf("%s: not a list", path)
		}
		if n := len(want); n > 0 && want[n-1] == "…" && len(got) >= n-1 {
			want, got = want[:n-1], got[:n-1]
		}
		if len(want) != len(got) {
			return fmt.Errorf("%s: %d entries, %d shown", path, len(got), len(want))
		}
		for i := range want {
			if err := same(fmt.Sprintf("%s[%d]", path, i), want[i], got[i]); err != nil {
				return err
			}
		}
		return nil
	}
	if !slices.Equal([]any{want}, []any{got}) {
		return fmt.Errorf("%s: %v, shown is %v", path, got, want)
	}
	return nil
}
