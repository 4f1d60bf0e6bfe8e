package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"

	"github.com/openkoo/connector/directory"
	"github.com/openkoo/connector/marketplace/client"
)

// hints say what a result code usually comes from. docs/troubleshooting.md has
// more of it.
var hints = map[string]string{
	"000001": "the access key differs from the other side's (--key-file), or the other side signs something else",
	"000002": "the member that is named is wrong; if it is x-timestamp, this machine's clock is",
	"000003": "the other side does not know the instance (--instance)",
	"000005": "the other side failed; send the file again",
	"000101": "clientSecret is not encrypted with the other side's public key; --public-key does it",
}

// maxRefusals bounds the refused calls that are listed.
const maxRefusals = 20

// sender sends calls in order and sums the answers up.
type sender struct {
	out, errOut io.Writer
	address     string
	push        func(ctx context.Context, kind directory.PushKind, body []byte) (client.Answer, error)
	scope       directory.Scope
	flag        directory.Flag

	sent    int
	counts  map[string]int // by result code
	codes   []string       // in the order they came
	refused []string
}

// errKeyRefused ends a push early: what follows would be refused as well.
var errKeyRefused = errors.New("stopped: the other calls would be refused as well")

func (s *sender) send(ctx context.Context, calls []call) error {
	if len(calls) == 0 {
		return errors.New("the file has no rows: nothing to send")
	}
	began := time.Now()
	s.counts = make(map[string]int)
	tick, done := showProgress(s.errOut, "Pushing", int64(len(calls)))
	var failure error
	for i := range calls {
		if failure = s.one(ctx, &calls[i]); failure != nil {
			break
		}
		tick(1)
	}
	done(failure == nil)
	s.summary(len(calls), time.Since(began))
	refused := s.sent - s.counts["000000"]
	switch {
	case ctx.Err() != nil:
		fmt.Fprintf(s.errOut, "Stopped after %d of %d calls. What was answered 000000 is done; sending the file again does no harm.\n", s.sent, len(calls))
		return exitError(exitInterrupted)
	case errors.Is(failure, errKeyRefused):
		return fmt.Errorf("%d of %d calls were refused; %w", refused, len(calls), failure)
	case failure != nil:
		return fmt.Errorf("stopped after %d of %d calls: %w; sending the file again does no harm", s.sent, len(calls), failure)
	case refused > 0:
		return fmt.Errorf("%d of %d calls were refused", refused, len(calls))
	}
	return nil
}

func (s *sender) one(ctx context.Context, c *call) error {
	body, err := client.Body(s.scope, s.flag, directory.SourceTimeOf(time.Now()), c.payload)
	if err != nil {
		return err
	}
	answer, err := s.push(ctx, c.payload.PushKind(), body)
	if err != nil {
		return err
	}
	s.sent++
	if s.counts[answer.Code]++; s.counts[answer.Code] == 1 {
		s.codes = append(s.codes, answer.Code)
	}
	if answer.OK() {
		return nil
	}
	s.refused = append(s.refused, fmt.Sprintf("%s (%s): %s %s", c.rows(), c.what, answer.Code, answer.Message))
	if answer.Code == "000001" {
		return errKeyRefused
	}
	return nil
}

func (s *sender) summary(total int, took time.Duration) {
	t := table.NewWriter()
	t.SetOutputMirror(s.out)
	t.SetStyle(table.StyleLight)
	t.AppendHeader(table.Row{"Code", "Calls", "Meaning"})
	for _, code := range s.codes {
		t.AppendRow(table.Row{code, s.counts[code], meanings[code]})
	}
	if missing := total - s.sent; missing > 0 {
		t.AppendRow(table.Row{"–", missing, "not sent, or not answered"})
	}
	t.Render()
	fmt.Fprintf(s.out, "%d of %d calls answered by %s in %s.\n", s.sent, total, s.address, took.Round(time.Millisecond))
	for i, line := range s.refused {
		if i == maxRefusals {
			fmt.Fprintf(s.out, "… and %d more\n", len(s.refused)-maxRefusals)
			break
		}
		fmt.Fprintln(s.out, line)
	}
	for _, code := range s.codes {
		if hint := hints[code]; hint != "" {
			fmt.Fprintf(s.out, "%s usually means: %s.\n", code, hint)
		}
	}
}

// meanings are the result codes in a word (spec/marketplace.md §2).
var meanings = map[string]string{
	"000000": "success", "000001": "authentication failed", "000002": "invalid parameter", "000003": "instance does not exist",
	"000004": "processing", "000005": "internal error", "000100": "no instance resource available", "000101": "something wrong with appSecret",
}

// maxShown bounds the body that a dry run shows, in characters.
const maxShown = 600

// showCalls is the dry run.
func showCalls(out io.Writer, address string, scope directory.Scope, flag directory.Flag, calls []call) error {
	if len(calls) == 0 {
		fmt.Fprintln(out, "The file has no rows: nothing would be sent.")
		return nil
	}
	kind := calls[0].payload.PushKind()
	payload := calls[0].payload
	if app, ok := payload.(*directory.ApplicationPush); ok && app.ClientSecret != "" {
		hidden := *app
		hidden.ClientSecret = "***"
		payload = &hidden
	}
	body, err := client.Body(scope, flag, directory.SourceTimeOf(time.Now()), payload)
	if err != nil {
		return err
	}
	text := []rune(strings.TrimSpace(string(body)))
	if len(text) > maxShown {
		text = append(text[:maxShown], '…')
	}
	fmt.Fprintf(out, "Would make %d calls. The first:\nPOST %s/produceAPI/v2/%s\n%s\n", len(calls), strings.TrimRight(address, "/"), kind, string(text))
	return nil
}
