package main

import (
	"context"
	"fmt"
	"io"
	"net/url"
	"os/user"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/spf13/cobra"

	"github.com/openkoo/connector/directory"
	"github.com/openkoo/connector/storage"
)

func holdsCommand(s *settings) *cobra.Command {
	var api apiFlags
	var reason string
	cmd := group(&cobra.Command{
		Use:     "holds",
		GroupID: "operate",
		Short:   "Deletions that wait for a decision",
		Long: `A full push that would delete more than the guard allows has its deletions
held: everything else of it is applied. Approve them, or reject them.`,
		Example: `  orgsync holds list
  orgsync holds approve 019aa0b2-5d7c-7c1e-8f0a-3c1f5a9be001
  orgsync holds reject 019aa0b2-5d7c-7c1e-8f0a-3c1f5a9be001 --reason "wrong export"`,
	})
	api.add(cmd)
	list := &cobra.Command{
		Use: "list", Short: "List the pushes that hold deletions", Args: none,
		RunE: func(cmd *cobra.Command, _ []string) error {
			client, err := api.client(s)
			if err != nil {
				return err
			}
			return listHolds(cmd.Context(), cmd.OutOrStdout(), client)
		},
	}
	decide := func(verb, short string) *cobra.Command {
		sub := &cobra.Command{
			Use: verb + " PUSH", Short: short, Long: short + ". PUSH is the id that `orgsync holds list` shows.", Args: one("PUSH"),
			RunE: func(cmd *cobra.Command, args []string) error {
				client, err := api.client(s)
				if err != nil {
					return err
				}
				return decideHold(cmd.Context(), cmd.OutOrStdout(), client, verb, args[0], reason)
			},
		}
		sub.Flags().StringVar(&reason, "reason", "", "why; kept in the journal")
		return sub
	}
	cmd.AddCommand(list, decide("approve", "Delete the departments"), decide("reject", "Keep the departments"))
	return cmd
}

func listHolds(ctx context.Context, w io.Writer, client *apiClient) error {
	t := table.NewWriter()
	t.SetOutputMirror(w)
	t.SetStyle(table.StyleLight)
	t.AppendHeader(table.Row{"Push", "Tenant", "Instance", "Received", "Deletions"})
	query := url.Values{"result": {string(directory.ResultHeld)}, "limit": {"1000"}}
	for {
		var held struct {
			Items  []storage.Record
			Cursor string
		}
		if err := client.call(ctx, "GET", "/pushes", query, nil, &held); err != nil {
			return err
		}
		for _, r := range held.Items {
			t.AppendRow(table.Row{r.ID, r.Scope.TenantID, r.Scope.InstanceID, r.ReceivedAt.Local().Format(time.DateTime), r.Counts[directory.ActionHold]})
		}
		if held.Cursor == "" {
			break
		}
		query.Set("cursor", held.Cursor)
	}
	if t.Length() == 0 {
		fmt.Fprintln(w, "Nothing is held.")
		return nil
	}
	t.Render()
	return nil
}

func decideHold(ctx context.Context, w io.Writer, client *apiClient, verb, push, reason string) error {
	var answer struct{ Counts directory.Counts }
	body := map[string]string{"by": operator(), "reason": reason}
	if err := client.call(ctx, "POST", "/pushes/"+url.PathEscape(push)+"/"+verb, nil, body, &answer); err != nil {
		return fmt.Errorf("%w; `orgsync holds list` shows what can be decided", err)
	}
	if verb == "reject" {
		fmt.Fprintln(w, "Rejected: the departments stay.")
		return nil
	}
	fmt.Fprintf(w, "Approved: %d departments are deleted.\n", answer.Counts[directory.ActionDelete])
	return nil
}

// operator is who gives the command.
func operator() string {
	if who, err := user.Current(); err == nil {
		return who.Username
	}
	return "orgsync"
}
