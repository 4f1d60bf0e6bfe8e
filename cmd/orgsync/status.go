package main

import (
	"context"
	"fmt"
	"io"
	"maps"
	"net/url"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/spf13/cobra"

	"github.com/openkoo/connector/admin"
)

func statusCommand(s *settings) *cobra.Command {
	var api apiFlags
	var tenant, instance, dataset string
	var watch bool
	cmd := &cobra.Command{
		Use:     "status",
		GroupID: "operate",
		Short:   "Is it synced? Per tenant and target",
		Long: `Show for each tenant whether every target has what the store has.
The exit code is 0 when all is synced, 2 while it is syncing or held,
3 when it is degraded, 1 when it cannot be told or nothing was pushed.`,
		Example: `  orgsync status
  orgsync status --tenant 68cbc86abc20 --instance inst-1 --watch`,
		Args: none,
		RunE: func(cmd *cobra.Command, _ []string) error {
			client, err := api.client(s)
			if err != nil {
				return err
			}
			query := url.Values{"dataset": {dataset}}
			if tenant != "" {
				query.Set("tenantId", tenant)
			}
			if cmd.Flags().Changed("instance") {
				query.Set("instanceId", instance)
			}
			for {
				state, err := showStatus(cmd.Context(), cmd.OutOrStdout(), client, query)
				if cmd.Context().Err() != nil {
					return nil
				}
				if err != nil {
					return err
				}
				if !watch {
					return exitFor(state)
				}
				select {
				case <-cmd.Context().Done():
					return nil
				case <-time.After(2 * time.Second):
				}
			}
		},
	}
	api.add(cmd)
	cmd.Flags().StringVar(&tenant, "tenant", "", "one tenant only")
	cmd.Flags().StringVar(&instance, "instance", "", "the tenant's instance, where it has several")
	cmd.Flags().StringVar(&dataset, "dataset", "prod", "prod or test")
	cmd.Flags().BoolVar(&watch, "watch", false, "show it again every two seconds")
	return cmd
}

func exitFor(state admin.SyncState) error {
	switch state {
	case admin.Synced:
		return nil
	case admin.Syncing, admin.Held:
		return exitError(2)
	case admin.Degraded:
		return exitError(3)
	default:
		return exitError(1)
	}
}

func showStatus(ctx context.Context, w io.Writer, client *apiClient, query url.Values) (admin.SyncState, error) {
	state, all, err := readStatus(ctx, client, query)
	if err != nil {
		return "", err
	}
	if len(all) == 0 {
		fmt.Fprintln(w, "Nothing has been pushed yet. Register the production address in the seller console (`orgsync keys`), or try it: `orgsync push --help`")
		return state, nil
	}
	fmt.Fprintf(w, "State: %s\n", state)
	writeStatus(w, all)
	return state, nil
}

// readStatus reads one tenant, or all of them page by page, and the gravest
// state among them.
func readStatus(ctx context.Context, client *apiClient, query url.Values) (admin.SyncState, []admin.SyncStatus, error) {
	if query.Get("tenantId") != "" {
		var one admin.SyncStatus
		err := client.call(ctx, "GET", "/sync-status", query, nil, &one)
		return one.State, []admin.SyncStatus{one}, err
	}
	query = maps.Clone(query)
	query.Set("limit", "100")
	var all []admin.SyncStatus
	var gravest admin.SyncState
	for {
		var page admin.SyncSummary
		if err := client.call(ctx, "GET", "/sync-status", query, nil, &page); err != nil {
			return "", nil, err
		}
		if all = append(all, page.Tenants...); gravest == "" || page.State.Worse(gravest) {
			gravest = page.State
		}
		if page.Cursor == "" {
			return gravest, all, nil
		}
		query.Set("cursor", page.Cursor)
	}
}

func writeStatus(w io.Writer, all []admin.SyncStatus) {
	t := table.NewWriter()
	t.SetOutputMirror(w)
	t.SetStyle(table.StyleLight)
	t.AppendHeader(table.Row{"Tenant", "Instance", "State", "Departments", "Users", "Target", "Pending", "Retrying", "Waiting", "Delivered", "Dead", "Held"})
	for _, s := range all {
		state := string(s.State)
		if s.HeldDeletions > 0 {
			state += fmt.Sprintf(" (%d deletions wait)", s.HeldDeletions)
		}
		row := table.Row{s.TenantID, s.InstanceID, state, s.Departments, s.Users}
		if len(s.Targets) == 0 {
			t.AppendRow(append(row, "none", "", "", "", "", "", ""))
		}
		for i, target := range s.Targets {
			if i > 0 {
				row = table.Row{"", "", "", "", ""}
			}
			t.AppendRow(append(row, fmt.Sprintf("%s (%s)", target.Name, target.State), target.Pending, target.Retrying, target.Waiting, target.Delivered, target.Dead, target.Held))
		}
	}
	t.Render()
	for _, s := range all {
		if s.HeldPush != "" {
			fmt.Fprintf(w, "%s: decide with `orgsync holds approve %s` or `reject`\n", s.TenantID, s.HeldPush)
		}
		for _, target := range s.Targets {
			if target.Held > 0 {
				fmt.Fprintf(w, "%s at %s: deletions wait; decide with `orgsync holds approve --target %s` or `reject`\n", s.TenantID, target.Name, target.Name)
			}
			if target.LastError != "" {
				fmt.Fprintf(w, "%s at %s: %s\n", s.TenantID, target.Name, target.LastError)
			}
		}
	}
}
