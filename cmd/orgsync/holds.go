package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os/user"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/spf13/cobra"

	"github.com/openkoo/connector/directory"
	"github.com/openkoo/connector/fanout"
	"github.com/openkoo/connector/storage"
)

// heldAt names deletions that a target's limit holds.
type heldAt struct{ target, tenant, instance string }

func holdsCommand(s *settings) *cobra.Command {
	var api apiFlags
	cmd := group(&cobra.Command{
		Use:     "holds",
		GroupID: "operate",
		Short:   "Deletions that wait for a decision",
		Long: `A full push that would delete more than the guard allows has its deletions
held: everything else of it is applied. A target that would be sent more
deletions and deactivations than its limit allows has them held: all else goes
on. Approve them, or reject them.`,
		Example: `  orgsync holds list
  orgsync holds approve 019aa0b2-5d7c-7c1e-8f0a-3c1f5a9be001
  orgsync holds reject 019aa0b2-5d7c-7c1e-8f0a-3c1f5a9be001 --reason "wrong export"
  orgsync holds approve --target corp-scim --tenant 68cbc86abc20`,
	})
	api.add(cmd)
	list := &cobra.Command{
		Use: "list", Short: "List the pushes and the targets that hold deletions", Args: none,
		RunE: func(cmd *cobra.Command, _ []string) error {
			client, err := api.client(s)
			if err != nil {
				return err
			}
			return listHolds(cmd.Context(), cmd.OutOrStdout(), client)
		},
	}
	cmd.AddCommand(list,
		decideCommand(s, &api, "approve", "Make the deletions that were held"),
		decideCommand(s, &api, "reject", "Keep what was to be deleted"))
	return cmd
}

func decideCommand(s *settings, api *apiFlags, verb, short string) *cobra.Command {
	var at heldAt
	var reason string
	cmd := &cobra.Command{
		Use: verb + " [PUSH]", Short: short, Long: short + `. PUSH is the id that ` + "`orgsync holds list`" + ` shows;
for what a target holds name the target in its place, and the tenant if it is about one only.`,
		Args: func(cmd *cobra.Command, args []string) error {
			if cmd.Flags().Changed("tenant") && at.tenant == "" { // of a script whose variable is not set
				return errors.New("--tenant is empty; leave it out to decide for all tenants")
			}
			if at.target != "" {
				return none(cmd, args)
			}
			if at.tenant != "" || cmd.Flags().Changed("instance") {
				return errors.New("--tenant and --instance go with --target: a push is of one tenant")
			}
			return one("PUSH (or --target)")(cmd, args)
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			client, err := api.client(s)
			if err != nil {
				return err
			}
			if at.target == "" {
				return decideHold(cmd.Context(), cmd.OutOrStdout(), client, verb, args[0], reason)
			}
			query := url.Values{}
			if at.tenant != "" {
				query.Set("tenantId", at.tenant)
			}
			if cmd.Flags().Changed("instance") {
				query.Set("instanceId", at.instance)
			}
			return decideAtTarget(cmd.Context(), cmd.OutOrStdout(), client, verb, at.target, reason, query)
		},
	}
	cmd.Flags().StringVar(&reason, "reason", "", "why; kept with the decision")
	cmd.Flags().StringVar(&at.target, "target", "", "decide what this target holds")
	cmd.Flags().StringVar(&at.tenant, "tenant", "", "with --target: of this tenant only")
	cmd.Flags().StringVar(&at.instance, "instance", "", "with --target: of this instance only")
	return cmd
}

func listHolds(ctx context.Context, w io.Writer, client *apiClient) error {
	pushes, err := heldPushes(ctx, client)
	if err != nil {
		return err
	}
	targets, err := heldTargets(ctx, client)
	if err != nil {
		return err
	}
	if pushes.Length()+targets.Length() == 0 {
		fmt.Fprintln(w, "Nothing is held.")
		return nil
	}
	for _, t := range []table.Writer{pushes, targets} {
		if t.Length() > 0 {
			fmt.Fprintln(w, t.Render())
		}
	}
	return nil
}

func holdsTable(header ...any) table.Writer {
	t := table.NewWriter()
	t.SetStyle(table.StyleLight)
	t.AppendHeader(header)
	return t
}

func heldPushes(ctx context.Context, client *apiClient) (table.Writer, error) {
	t := holdsTable("Push", "Tenant", "Instance", "Received", "Deletions")
	query := url.Values{"result": {string(directory.ResultHeld)}, "limit": {"1000"}}
	for {
		var held struct {
			Items  []storage.Record
			Cursor string
		}
		if err := client.call(ctx, "GET", "/pushes", query, nil, &held); err != nil {
			return nil, err
		}
		for _, r := range held.Items {
			t.AppendRow(table.Row{r.ID, r.Scope.TenantID, r.Scope.InstanceID, r.ReceivedAt.Local().Format(time.DateTime), r.Counts[directory.ActionHold]})
		}
		if held.Cursor == "" {
			return t, nil
		}
		query.Set("cursor", held.Cursor)
	}
}

// heldTargets lists what targets hold, by tenant.
func heldTargets(ctx context.Context, client *apiClient) (table.Writer, error) {
	t := holdsTable("Target", "Tenant", "Instance", "Since", "Deletions")
	var targets struct{ Items []fanout.Status }
	if err := client.call(ctx, "GET", "/targets", nil, nil, &targets); err != nil {
		return nil, err
	}
	for _, target := range targets.Items {
		if target.HeldSince.IsZero() {
			continue
		}
		tenants, err := heldTenants(ctx, client, target.Name)
		if err != nil {
			return nil, err
		}
		for _, one := range tenants {
			t.AppendRow(table.Row{target.Name, one.TenantID, one.InstanceID, target.HeldSince.Local().Format(time.DateTime), one.removals})
		}
	}
	return t, nil
}

// heldTenant is how many removals of a tenant a target holds.
type heldTenant struct {
	directory.Scope
	removals int
}

func heldTenants(ctx context.Context, client *apiClient, target string) ([]heldTenant, error) {
	var tenants []heldTenant
	for _, kind := range []storage.SlotKind{storage.SlotDepartment, storage.SlotUser} {
		query := url.Values{"target": {target}, "state": {storage.SlotHeld.String()}, "kind": {kind.String()}, "limit": {"1000"}}
		for {
			var page struct {
				Items []struct {
					Scope directory.Scope `json:"scope"`
				}
				Cursor string
			}
			if err := client.call(ctx, "GET", "/deliveries", query, nil, &page); err != nil {
				return nil, err
			}
			for _, slot := range page.Items {
				tenants = countHeld(tenants, slot.Scope)
			}
			if page.Cursor == "" {
				break
			}
			query.Set("cursor", page.Cursor)
		}
	}
	return tenants, nil
}

// countHeld counts one more of a scope.
func countHeld(tenants []heldTenant, scope directory.Scope) []heldTenant {
	for i := range tenants {
		if tenants[i].Scope == scope {
			tenants[i].removals++
			return tenants
		}
	}
	return append(tenants, heldTenant{scope, 1})
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

func decideAtTarget(ctx context.Context, w io.Writer, client *apiClient, verb, target, reason string, query url.Values) error {
	var answer struct{ Removals int }
	body := map[string]string{"by": operator(), "reason": reason}
	if err := client.call(ctx, "POST", "/targets/"+url.PathEscape(target)+"/deletions/"+verb, query, body, &answer); err != nil {
		return fmt.Errorf("%w; `orgsync holds list` shows what can be decided", err)
	}
	if verb == "reject" {
		fmt.Fprintf(w, "Rejected: what %d deletions and deactivations were to take away stays at %s.\n", answer.Removals, target)
		return nil
	}
	fmt.Fprintf(w, "Approved: %d deletions and deactivations go to %s.\n", answer.Removals, target)
	return nil
}

// operator is who gives the command.
func operator() string {
	if who, err := user.Current(); err == nil {
		return who.Username
	}
	return "orgsync"
}
