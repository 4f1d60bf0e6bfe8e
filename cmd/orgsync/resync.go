package main

import (
	"context"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/spf13/cobra"

	"github.com/openkoo/connector/storage"
)

// resyncLook is how often a resync under way is asked how far it is.
const resyncLook = 500 * time.Millisecond

func resyncCommand(s *settings) *cobra.Command {
	var api apiFlags
	var dryRun, accept bool
	var report string
	cmd := &cobra.Command{
		Use:     "resync TARGET",
		GroupID: "operate",
		Short:   "Compare a target with the directory and repair it",
		Long: `Read the whole of a target, compare it with what was delivered there, and send
anew what is ours and is missing or was changed. What is not ours is reported
and left alone. docs/resync.md says what is found and what becomes of it.

Ends with 2 if the target could not be compared to its end, or so much is
missing there that somebody has to confirm it (--accept-missing).`,
		Example: `  orgsync resync corp-scim --dry-run
  orgsync resync corp-scim --report drift.csv`,
		Args: one("TARGET"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if ext := filepath.Ext(report); report != "" && ext != ".json" && ext != ".csv" {
				return fmt.Errorf("--report %q: want a name that ends with .json or .csv", report)
			}
			client, err := api.client(s)
			if err != nil {
				return err
			}
			return resyncTarget(cmd.Context(), cmd.OutOrStdout(), client, args[0], dryRun, accept, report)
		},
	}
	api.add(cmd)
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "compare only, change nothing")
	cmd.Flags().BoolVar(&accept, "accept-missing", false, "make anew what is missing, however much it is")
	cmd.Flags().StringVar(&report, "report", "", "file for the differences, .json or .csv")
	return cmd
}

func resyncTarget(ctx context.Context, w io.Writer, client *apiClient, name string, dryRun, accept bool, file string) error {
	base := "/targets/" + url.PathEscape(name) + "/resync"
	query := url.Values{"dryRun": {strconv.FormatBool(dryRun)}, "acceptMissing": {strconv.FormatBool(accept)}}
	var report storage.Resync
	if err := client.call(ctx, "POST", base, query, nil, &report); err != nil {
		return err
	}
	path := base + "s/" + report.ID
	tick, done := showProgress(w, "objects compared at "+name, 0)
	err := followResync(ctx, client, path, &report, tick)
	done(err == nil)
	if err != nil {
		return fmt.Errorf("%w; the resync goes on: GET /api/v1%s tells of it", err, path)
	}
	if file != "" {
		var text []byte
		format := url.Values{"format": {strings.TrimPrefix(filepath.Ext(file), ".")}}
		if err := client.call(ctx, "GET", path, format, nil, &text); err != nil {
			return err
		}
		if err := os.WriteFile(file, text, 0o600); err != nil {
			return fmt.Errorf("--report: %w", err)
		}
	}
	writeResync(w, &report)
	return resyncEnd(&report)
}

// followResync waits for a resync's end.
func followResync(ctx context.Context, client *apiClient, path string, report *storage.Resync, tick func(int64)) error {
	ticker := time.NewTicker(resyncLook)
	defer ticker.Stop()
	for {
		listed := report.Listed
		*report = storage.Resync{}
		if err := client.call(ctx, "GET", path, nil, nil, report); err != nil {
			return err
		}
		tick(int64(report.Listed - listed))
		if report.State != storage.ResyncRunning {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-ticker.C:
		}
	}
}

func writeResync(w io.Writer, r *storage.Resync) {
	fmt.Fprintf(w, "%d objects read with %d requests; %d departments and accounts and %d memberships are as they should be.\n", r.Listed, r.Requests, r.InSync, r.Memberships)
	if r.Unsettled > 0 {
		fmt.Fprintf(w, "%d were changing or wait for delivery, and were not judged.\n", r.Unsettled)
	}
	t := table.NewWriter()
	t.SetOutputMirror(w)
	t.SetStyle(table.StyleLight)
	t.AppendHeader(table.Row{"Finding", "Number", "What"})
	for _, finding := range storage.Findings() {
		if n := r.Counts[finding]; n > 0 {
			t.AppendRow(table.Row{finding, n, findingWords[finding]})
		}
	}
	if t.Length() > 0 {
		t.Render()
	}
	if r.Reason != "" {
		fmt.Fprintf(w, "%s: %s.\n", r.State, r.Reason)
	}
	if r.Unkept > 0 {
		fmt.Fprintf(w, "%d were sent before and are as they were: the target does not keep them.\n", r.Unkept)
	}
	switch {
	case r.DryRun:
		fmt.Fprintln(w, "Dry run: nothing was changed.")
	case r.Repaired > 0:
		fmt.Fprintf(w, "%d are sent anew; `orgsync status` shows when they are there.\n", r.Repaired)
	}
}

// findingWords say what a finding is.
var findingWords = map[storage.Finding]string{
	storage.FindingMissing:       "delivered, and gone there",
	storage.FindingChanged:       "changed there",
	storage.FindingMoved:         "there under another id",
	storage.FindingLeftOver:      "deleted here, still there",
	storage.FindingUnknown:       "not ours: left alone",
	storage.FindingDuplicate:     "bears the name of one of ours: left alone, remove it there",
	storage.FindingMemberMissing: "not in its department's group",
	storage.FindingMemberExtra:   "in a department's group it does not belong to",
	storage.FindingMemberUnknown: "a stranger in a group of ours: left alone",
}

func resyncEnd(r *storage.Resync) error {
	switch r.State {
	case storage.ResyncDone:
		return nil
	case storage.ResyncIncomplete, storage.ResyncHeld:
		return exitError(2)
	default:
		return exitError(1)
	}
}
