package main

import (
	"context"
	"fmt"
	"io"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/spf13/cobra"

	"github.com/openkoo/connector/directory"
	"github.com/openkoo/connector/storage"
)

// maxJournal is how many pushes a page of the API has at the most.
const maxJournal = 1000

func journalCommand(s *settings) *cobra.Command {
	var api apiFlags
	var tenant, instance, kind, result, dataset string
	var last int
	cmd := &cobra.Command{
		Use:     "journal [PUSH]",
		GroupID: "operate",
		Short:   "What was pushed, and what came of it",
		Long: `List the latest pushes, the newest first, with what they did. With the id of a
push, show what it did to each entity, and why.`,
		Example: `  orgsync journal
  orgsync journal --tenant 68cbc86abc20 --kind allOrgSync
  orgsync journal --result held
  orgsync journal 019aa0b2-5d7c-7c1e-8f0a-3c1f5a9be001`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return nil
			}
			return one("PUSH")(cmd, args)
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if last < 1 || last > maxJournal {
				return fmt.Errorf("--last %d: want 1 to %d", last, maxJournal)
			}
			client, err := api.client(s)
			if err != nil {
				return err
			}
			if len(args) == 1 {
				return showPush(cmd.Context(), cmd.OutOrStdout(), client, args[0])
			}
			query := url.Values{"limit": {strconv.Itoa(last)}, "dataset": {dataset}}
			for name, value := range map[string]string{"tenantId": tenant, "kind": kind, "result": result} {
				if value != "" {
					query.Set(name, value)
				}
			}
			if cmd.Flags().Changed("instance") {
				query.Set("instanceId", instance)
			}
			return listPushes(cmd.Context(), cmd.OutOrStdout(), client, query)
		},
	}
	api.add(cmd)
	cmd.Flags().StringVar(&tenant, "tenant", "", "one tenant only")
	cmd.Flags().StringVar(&instance, "instance", "", "one instance only")
	cmd.Flags().StringVar(&kind, "kind", "", "one interface only, such as allOrgSync")
	cmd.Flags().StringVar(&result, "result", "", "applied, unchanged, stale, held, approved, rejected, replaced")
	cmd.Flags().StringVar(&dataset, "dataset", "prod", "prod or test")
	cmd.Flags().IntVar(&last, "last", 20, "how many")
	return cmd
}

func listPushes(ctx context.Context, w io.Writer, client *apiClient, query url.Values) error {
	var found struct {
		Items  []storage.Record
		Cursor string
	}
	if err := client.call(ctx, "GET", "/pushes", query, nil, &found); err != nil {
		return err
	}
	if len(found.Items) == 0 {
		fmt.Fprintln(w, "No such push is in the journal.")
		return nil
	}
	t := table.NewWriter()
	t.SetStyle(table.StyleLight)
	t.AppendHeader(table.Row{"Push", "Received", "Tenant", "Kind", "Result", "What"})
	for _, r := range found.Items {
		t.AppendRow(table.Row{r.ID, r.ReceivedAt.Local().Format(time.DateTime), r.Scope.TenantID, r.Kind, r.Result, inWords(r.Counts)})
	}
	fmt.Fprintln(w, t.Render())
	if found.Cursor != "" {
		fmt.Fprintf(w, "There are older ones: --last, at most %d, or narrow it down.\n", maxJournal)
	}
	return nil
}

func showPush(ctx context.Context, w io.Writer, client *apiClient, id string) error {
	query := url.Values{"limit": {strconv.Itoa(maxJournal)}}
	for first := true; first || query.Get("cursor") != ""; first = false {
		var push struct {
			storage.Record
			Decisions []directory.Decision
			Cursor    string
		}
		if err := client.call(ctx, "GET", "/pushes/"+url.PathEscape(id), query, nil, &push); err != nil {
			return err
		}
		if first {
			fmt.Fprintf(w, "%s of %s, received %s: %s (%s).\n", push.Kind, push.Scope, push.ReceivedAt.Local().Format(time.DateTime), push.Result, inWords(push.Counts))
			if push.Note != "" {
				fmt.Fprintln(w, push.Note)
			}
		}
		for _, d := range push.Decisions {
			fmt.Fprintln(w, strings.TrimRight(fmt.Sprintf("  %-8s %s %s  %s", d.Action, d.Kind, d.Key, d.Reason), " "))
		}
		query.Set("cursor", push.Cursor)
	}
	return nil
}
