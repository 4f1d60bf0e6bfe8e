package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/openkoo/connector/directory"
	"github.com/openkoo/connector/restore"
)

func restoreCommand(s *settings) *cobra.Command {
	var api apiFlags
	var push, reason string
	var dryRun bool
	cmd := &cobra.Command{
		Use:     "restore --push PUSH",
		GroupID: "operate",
		Short:   "Bring a tenant's departments back to how they stood after a push",
		Long: `Bring the departments of a push's tenant back to how they stood when the push
had just been applied, as a full push of its own: guarded like any other, kept
in the journal, and carried to every target. Accounts are left as they are.

` + "`orgsync journal`" + ` lists the pushes, newest first.`,
		Example: `  orgsync restore --push 019aa0b2-5d7c-7c1e-8f0a-3c1f5a9be001 --dry-run
  orgsync restore --push 019aa0b2-5d7c-7c1e-8f0a-3c1f5a9be001 --reason "wrong export"`,
		Args: none,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if push == "" {
				return errors.New("want --push, the id of the push to go back to; `orgsync journal` lists them")
			}
			client, err := api.client(s)
			if err != nil {
				return err
			}
			return restorePush(cmd.Context(), cmd.OutOrStdout(), client, push, reason, dryRun)
		},
	}
	api.add(cmd)
	cmd.Flags().StringVar(&push, "push", "", "id of the push to go back to")
	cmd.Flags().StringVar(&reason, "reason", "", "why; kept in the journal")
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "show what would change, and change nothing")
	return cmd
}

func restorePush(ctx context.Context, w io.Writer, client *apiClient, push, reason string, dryRun bool) error {
	query := url.Values{}
	if dryRun {
		query.Set("dryRun", "true")
	}
	var outcome restore.Outcome
	body := map[string]string{"by": operator(), "reason": reason}
	if err := client.call(ctx, "POST", "/pushes/"+url.PathEscape(push)+"/restore", query, body, &outcome); err != nil {
		return err
	}
	fmt.Fprintf(w, "As of %s there were %d departments: %s.\n", outcome.AsOf.Local().Format(time.DateTime), outcome.Departments, inWords(outcome.Counts))
	for _, d := range outcome.Decisions {
		fmt.Fprintln(w, strings.TrimRight(fmt.Sprintf("  %-8s %s  %s", d.Action, d.Key, d.Reason), " "))
	}
	switch {
	case dryRun:
		fmt.Fprintln(w, "A dry run: nothing is changed.")
	case outcome.Result == directory.ResultHeld:
		fmt.Fprintf(w, "Restored by push %s, except for %d deletions.\nThe guard holds them: orgsync holds approve %s\n",
			outcome.PushID, outcome.Counts[directory.ActionHold], outcome.PushID)
	case outcome.Result == directory.ResultUnchanged:
		fmt.Fprintln(w, "They stand so already: nothing is changed.")
	default:
		fmt.Fprintf(w, "Restored by push %s.\n", outcome.PushID)
	}
	return nil
}

// inWords reads "delete 1, restore 2, unchanged 10".
func inWords(counts directory.Counts) string {
	var parts []string
	for _, action := range slices.Sorted(maps.Keys(counts)) {
		if n := counts[action]; n > 0 {
			parts = append(parts, fmt.Sprintf("%s %d", action, n))
		}
	}
	if len(parts) == 0 {
		return "nothing to do"
	}
	return strings.Join(parts, ", ")
}
