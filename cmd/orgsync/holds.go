package main

import (
	"fmt"
	"net/url"
	"os/user"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/spf13/cobra"

	"github.com/openkoo/connector/storage"
)

func holdsCommand(s *settings) *cobra.Command {
	var api apiFlags
	var reason string
	cmd := &cobra.Command{
		Use:     "holds",
		GroupID: "operate",
		Short:   "Deletions that wait for a decision",
		Long: `A full push that would delete more than the guard allows has its deletions
held: everything else of it is applied. Approve them, or reject them.`,
		Example: `  orgsync holds list
  orgsync holds approve 019aa0b2-5d7c-7c1e-8f0a-3c1f5a9be001
  orgsync holds reject 019aa0b2-5d7c-7c1e-8f0a-3c1f5a9be001 --reason "wrong export"`,
	}
	api.add(cmd)
	list := &cobra.Command{
		Use: "list", Short: "List the pushes that hold deletions", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			client, err := api.client(s)
			if err != nil {
				return err
			}
			var held struct{ Items []storage.Record }
			if err := client.call(cmd.Context(), "GET", "/pushes", url.Values{"result": {"held"}, "limit": {"1000"}}, nil, &held); err != nil {
				return err
			}
			if len(held.Items) == 0 {
				fmt.Fprintln(cmd.OutOrStdout(), "Nothing is held.")
				return nil
			}
			t := table.NewWriter()
			t.SetOutputMirror(cmd.OutOrStdout())
			t.SetStyle(table.StyleLight)
			t.AppendHeader(table.Row{"Push", "Tenant", "Instance", "Received", "Deletions"})
			for _, r := range held.Items {
				t.AppendRow(table.Row{r.ID, r.Scope.TenantID, r.Scope.InstanceID, r.ReceivedAt.Local().Format("2006-01-02 15:04:05"), r.Counts["hold"]})
			}
			t.Render()
			return nil
		},
	}
	decide := func(verb, short string) *cobra.Command {
		return &cobra.Command{
			Use: verb + " PUSH", Short: short, Args: cobra.ExactArgs(1),
			RunE: func(cmd *cobra.Command, args []string) error {
				client, err := api.client(s)
				if err != nil {
					return err
				}
				by := "orgsync holds"
				if who, err := user.Current(); err == nil {
					by = who.Username
				}
				var answer struct{ Counts map[string]int }
				if err := client.call(cmd.Context(), "POST", "/pushes/"+url.PathEscape(args[0])+"/"+verb, nil, map[string]string{"by": by, "reason": reason}, &answer); err != nil {
					return err
				}
				fmt.Fprintf(cmd.OutOrStdout(), "Done: %d departments deleted.\n", answer.Counts["delete"])
				return nil
			},
		}
	}
	reject := decide("reject", "Keep the departments")
	reject.Flags().StringVar(&reason, "reason", "", "kept in the journal")
	cmd.AddCommand(list, decide("approve", "Delete the departments"), reject)
	return cmd
}
