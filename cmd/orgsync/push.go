package main

import (
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/jedib0t/go-pretty/v6/progress"
	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/spf13/cobra"

	"github.com/openkoo/connector/config"
	"github.com/openkoo/connector/directory"
	"github.com/openkoo/connector/marketplace/client"
)

// pushFlags are what all `push` commands share.
type pushFlags struct {
	url, keyFile, instance, tenant, app, flag string
	test, dryRun                              bool
}

func pushCommand(s *settings) *cobra.Command {
	f := &pushFlags{}
	cmd := &cobra.Command{
		Use:     "push",
		GroupID: "run",
		Short:   "Sign and send a file to any production address, as the marketplace would",
		Long: `Read a JSON or CSV file, sign it as the marketplace does, and send it to a
production address: this connector's, or your own server's.

A CSV file has a header line with the protocol's member names
(orgCode,orgName,parentCode or userName,name,orgCode,role,enable,…); a JSON file
holds a list of objects with those members, or one object.`,
		Example: `  orgsync push tenant --tenant t1 --instance i1 tenant.json
  orgsync push full   --tenant t1 --instance i1 departments.csv
  orgsync push org    --tenant t1 --instance i1 --flag delete departments.csv
  orgsync push users  --tenant t1 --instance i1 --app app-1 users.csv`,
	}
	p := cmd.PersistentFlags()
	p.StringVar(&f.url, "url", "http://localhost:8080/saasproduce", "production address")
	p.StringVar(&f.keyFile, "key-file", "", "file with the access key (default: ORGSYNC_KIT_ACCESS_KEYS, or kit-access-key in the data directory)")
	p.StringVar(&f.tenant, "tenant", "", "tenantId (required)")
	p.StringVar(&f.instance, "instance", "", "instanceId, empty while credentials are created")
	p.StringVar(&f.flag, "flag", "add", "add, modify, delete or cancel")
	p.BoolVar(&f.test, "test", false, "debugging data (testFlag 1)")
	p.BoolVar(&f.dryRun, "dry-run", false, "show what would be sent")
	for _, kind := range []struct {
		name, short string
		read        func(*pushFlags, []map[string]string) ([]directory.Payload, error)
	}{
		{"full", "The whole department list (allOrgSync)", readFull},
		{"org", "Departments one by one (singleOrgSync)", readOrgs},
		{"users", "Users, up to 500 in a call (authSync)", readUsers},
		{"tenant", "The enterprise (tenantSync)", readTenant},
		{"app", "An application credential (applicationSync)", readApp},
	} {
		sub := &cobra.Command{
			Use: kind.name + " FILE", Short: kind.short, Args: cobra.ExactArgs(1),
			RunE: func(cmd *cobra.Command, args []string) error {
				rows, err := readRows(args[0])
				if err != nil {
					return err
				}
				payloads, err := kind.read(f, rows)
				if err != nil {
					return fmt.Errorf("%s: %w", args[0], err)
				}
				return f.run(cmd, s, payloads, len(rows))
			},
		}
		if kind.name == "users" {
			sub.Flags().StringVar(&f.app, "app", "", "appId (required)")
		}
		cmd.AddCommand(sub)
	}
	return cmd
}

func (f *pushFlags) run(cmd *cobra.Command, s *settings, payloads []directory.Payload, rows int) error {
	if f.tenant == "" {
		return errors.New("--tenant is missing")
	}
	flag, ok := map[string]directory.Flag{"delete": directory.FlagDelete, "add": directory.FlagAdd, "modify": directory.FlagModify, "cancel": directory.FlagCancel}[f.flag]
	if !ok {
		return fmt.Errorf("--flag %q: want add, modify, delete or cancel", f.flag)
	}
	scope := directory.Scope{Dataset: directory.Prod, InstanceID: f.instance, TenantID: f.tenant}
	if f.test {
		scope.Dataset = directory.Test
	}
	if f.dryRun {
		fmt.Fprintf(cmd.OutOrStdout(), "Would send %d rows in %d calls to %s.\n", rows, len(payloads), f.url)
		return nil
	}
	key, err := f.key(s)
	if err != nil {
		return err
	}
	c, err := client.New(f.url, key, client.Options{})
	if err != nil {
		return err
	}
	return sendAll(cmd.Context(), cmd.OutOrStdout(), cmd.ErrOrStderr(), c, scope, flag, payloads)
}

func (f *pushFlags) key(s *settings) (string, error) {
	path := f.keyFile
	if path == "" {
		if keys := os.Getenv(config.Prefix + "KIT_ACCESS_KEYS"); keys != "" {
			return strings.Split(keys, ",")[0], nil
		}
		dir := s.dataDir
		if dir == "" {
			dir = "data"
		}
		path = filepath.Join(dir, config.AccessKeyFile)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return "", fmt.Errorf("access key: %w; give it with --key-file or %sKIT_ACCESS_KEYS", err, config.Prefix)
	}
	return strings.TrimSpace(string(text)), nil
}

// hints say what a result code usually means.
var hints = map[string]string{
	"000001": "the access key differs, or the other side signs something else",
	"000002": "a member is wrong, or this machine's clock is",
	"000005": "the other side failed; try again",
	"000101": "clientSecret is not encrypted with the seller's public key",
}

// sendAll sends payload after payload, in order, and sums the answers up.
func sendAll(ctx context.Context, out, errOut io.Writer, c *client.Client, scope directory.Scope, flag directory.Flag, payloads []directory.Payload) error {
	pw := progress.NewWriter()
	pw.SetOutputWriter(errOut)
	pw.SetUpdateFrequency(100 * time.Millisecond)
	pw.SetAutoStop(true)
	tracker := &progress.Tracker{Message: "Pushing", Total: int64(len(payloads))}
	pw.AppendTracker(tracker)
	rendered := make(chan struct{})
	go func() { pw.Render(); close(rendered) }()

	began := time.Now()
	counts := make(map[client.Answer]int)
	var order []client.Answer
	var failure error
	for _, payload := range payloads {
		body, err := client.Body(scope, flag, directory.SourceTimeOf(time.Now()), payload)
		if err == nil {
			var answer client.Answer
			if answer, err = c.Push(ctx, payload.PushKind(), body); err == nil {
				if counts[answer]++; counts[answer] == 1 {
					order = append(order, answer)
				}
			}
		}
		if err != nil {
			failure = err
			break
		}
		tracker.Increment(1)
	}
	if failure != nil {
		tracker.MarkAsErrored()
	} else {
		tracker.MarkAsDone()
	}
	<-rendered
	t := table.NewWriter()
	t.SetOutputMirror(out)
	t.SetStyle(table.StyleLight)
	t.AppendHeader(table.Row{"Calls", "Code", "Message"})
	bad := 0
	for _, answer := range order {
		t.AppendRow(table.Row{counts[answer], answer.Code, answer.Message})
		if !answer.OK() {
			bad += counts[answer]
		}
	}
	t.AppendFooter(table.Row{len(payloads), "", time.Since(began).Round(time.Millisecond).String()})
	t.Render()
	for _, answer := range order {
		if hint := hints[answer.Code]; hint != "" {
			fmt.Fprintf(out, "%s usually means: %s.\n", answer.Code, hint)
		}
	}
	if failure != nil {
		return failure
	}
	if bad > 0 {
		return fmt.Errorf("%d of %d calls were refused", bad, len(payloads))
	}
	return nil
}

// readRows reads a CSV or JSON file into rows by member name.
func readRows(path string) ([]map[string]string, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	if strings.EqualFold(filepath.Ext(path), ".csv") {
		return readCSV(path, string(text))
	}
	var many []map[string]any
	if err := json.Unmarshal(text, &many); err != nil {
		var one map[string]any
		if json.Unmarshal(text, &one) != nil {
			return nil, fmt.Errorf("%s: %w; want a list of objects, or name the file .csv", path, err)
		}
		many = []map[string]any{one}
	}
	rows := make([]map[string]string, len(many))
	for i, object := range many {
		rows[i] = make(map[string]string, len(object))
		for name, value := range object {
			if value != nil {
				rows[i][name] = fmt.Sprint(value)
			}
		}
	}
	return rows, nil
}

func readCSV(path, text string) ([]map[string]string, error) {
	records, err := csv.NewReader(strings.NewReader(strings.TrimPrefix(text, "\ufeff"))).ReadAll()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if len(records) == 0 {
		return nil, fmt.Errorf("%s: no header line", path)
	}
	rows := make([]map[string]string, 0, len(records)-1)
	for _, record := range records[1:] {
		row := make(map[string]string, len(record))
		for i, value := range record {
			row[records[0][i]] = value
		}
		rows = append(rows, row)
	}
	return rows, nil
}

func department(row map[string]string) directory.DepartmentItem {
	return directory.DepartmentItem{Code: row["orgCode"], Name: row["orgName"], ParentCode: row["parentCode"]}
}

func readFull(_ *pushFlags, rows []map[string]string) ([]directory.Payload, error) {
	full := &directory.FullPush{}
	for _, row := range rows {
		full.Departments = append(full.Departments, department(row))
	}
	return []directory.Payload{full}, nil
}

func readOrgs(_ *pushFlags, rows []map[string]string) ([]directory.Payload, error) {
	var all []directory.Payload
	for _, row := range rows {
		all = append(all, &directory.DepartmentPush{DepartmentItem: department(row)})
	}
	return all, nil
}

func readUsers(f *pushFlags, rows []map[string]string) ([]directory.Payload, error) {
	if f.app == "" {
		return nil, errors.New("--app is missing")
	}
	var all []directory.Payload
	for len(rows) > 0 {
		n := min(len(rows), directory.MaxUsers)
		batch := &directory.AuthPush{AppID: f.app}
		for _, row := range rows[:n] {
			employeeType, _ := strconv.Atoi(row["employeeType"])
			batch.Users = append(batch.Users, directory.UserItem{
				UserName: row["userName"], Name: row["name"], OrgCode: row["orgCode"], Role: row["role"], Enabled: row["enable"] != "false",
				Position: row["position"], EmployeeCode: row["employeeCode"], EmployeeType: employeeType,
				Mobile: row["mobile"], Email: row["email"], WorkPlace: row["workPlace"], EntryDate: row["entryDate"],
			})
		}
		all, rows = append(all, batch), rows[n:]
	}
	return all, nil
}

func readTenant(_ *pushFlags, rows []map[string]string) ([]directory.Payload, error) {
	var all []directory.Payload
	for _, row := range rows {
		all = append(all, &directory.TenantPush{OrderID: row["orderId"], Code: row["tenantCode"], Name: row["name"], DomainName: row["domainName"]})
	}
	return all, nil
}

func readApp(_ *pushFlags, rows []map[string]string) ([]directory.Payload, error) {
	var all []directory.Payload
	for _, row := range rows {
		all = append(all, &directory.ApplicationPush{AppID: row["appId"], ClientID: row["clientId"], ClientSecret: row["clientSecret"]})
	}
	return all, nil
}
