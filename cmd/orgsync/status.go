package main

import (
	"context"
	"fmt"
	"io"
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
3 when it is degraded, 1 when it cannot be told.`,
		Example: `  orgsync status
  orgsync status --tenant 68cbc86abc20 --instance inst-1 --watch`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			client, err := api.client(s)
			if err != nil {
				return err
			}
			query := url.Values{"dataset": {dataset}}
			if tenant != "" {
				query.Set("tenantId", tenant)
			}
			if cmd.Flags().Changed("instance") || tenant != "" {
				query.Set("instanceId", instance)
			}
			for {
				state, err := showStatus(cmd.Context(), cmd.OutOrStdout(), client, query)
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
	cmd.Flags().StringVar(&instance, "instance", "", "the tenant's instance")
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
	var answer struct {
		admin.SyncStatus
		State   admin.SyncState    `json:"state"`
		Tenants []admin.SyncStatus `json:"tenants"`
	}
	if err := client.call(ctx, "GET", "/sync-status", query, nil, &answer); err != nil {
		return "", err
	}
	all := answer.Tenants
	if query.Get("tenantId") != "" {
		answer.SyncStatus.State = answer.State
		all = []admin.SyncStatus{answer.SyncStatus}
	}
	fmt.Fprintf(w, "State: %s\n", answer.State)
	writeStatus(w, all)
	return answer.State, nil
}

func writeStatus(w io.Writer, all []admin.SyncStatus) {
	t := table.NewWriter()
	t.SetOutputMirror(w)
	t.SetStyle(table.StyleLight)
	t.AppendHeader(table.Row{"Tenant", "Instance", "State", "Departments", "Users", "Target", "Pending", "Retrying", "Waiting", "Delivered", "Dead"})
	for _, s := range all {
		state := string(s.State)
		if s.HeldDeletions > 0 {
			state += fmt.Sprintf(" (%d deletions)", s.HeldDeletions)
		}
		row := table.Row{s.TenantID, s.InstanceID, state, s.Departments, s.Users}
		if len(s.Targets) == 0 {
			t.AppendRow(append(row, "none", "", "", "", "", ""))
		}
		for i, target := range s.Targets {
			if i > 0 {
				row = table.Row{"", "", "", "", ""}
			}
			t.AppendRow(append(row, fmt.Sprintf("%s (%s)", target.Name, target.State), target.Pending, target.Retrying, target.Waiting, target.Delivered, target.Dead))
		}
	}
	t.Render()
	for _, s := range all {
		for _, target := range s.Targets {
			if target.LastError != "" {
				fmt.Fprintf(w, "%s: %s\n", target.Name, target.LastError)
			}
		}
	}
}
