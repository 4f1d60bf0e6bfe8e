package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/jedib0t/go-pretty/v6/list"
	"github.com/jedib0t/go-pretty/v6/text"
	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/openkoo/connector/admin"
	"github.com/openkoo/connector/config"
	"github.com/openkoo/connector/directory"
	"github.com/openkoo/connector/marketplace/client"
	"github.com/openkoo/connector/secrets"
	"github.com/openkoo/connector/target/scim/scimserver"
)

const demoTarget = "demo-scim"

// scimTokenFile is where the demo keeps the SCIM server's token.
const scimTokenFile = "scim-token"

func demoCommand() *cobra.Command {
	var once bool
	cmd := &cobra.Command{
		Use:     "demo",
		GroupID: "run",
		Short:   "See it work: an enterprise is bound, edited and followed by a SCIM server",
		Long: `Start the connector and a SCIM server, push a sample enterprise through the real
HTTP door with real signatures, and show what became of it. Needs nothing, keeps
nothing: its data is in a temporary directory that goes when the demo ends.`,
		Example: `  orgsync demo
  orgsync demo --once     leave when all is shown`,
		Args: none,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return runDemo(cmd.Context(), cmd.OutOrStdout(), once)
		},
	}
	cmd.Flags().BoolVar(&once, "once", false, "end when all is shown")
	return cmd
}

// demo is a running demo.
type demo struct {
	out    io.Writer
	dir    string
	base   string
	config *config.Config
	scim   *scimserver.Server
	scimAt string
	scope  directory.Scope
	push   *client.Client
	api    *apiClient
	clock  time.Time // each push is a little later than the one before
}

func runDemo(ctx context.Context, out io.Writer, once bool) (err error) {
	dir, err := os.MkdirTemp("", "orgsync-demo-")
	if err != nil {
		return fmt.Errorf("make temporary directory: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	d := &demo{out: out, dir: dir, scope: directory.Scope{Dataset: directory.Prod, InstanceID: "inst-demo", TenantID: "yunqi"}, clock: time.Now().Add(-time.Minute)}

	fmt.Fprintln(out, "Starting a SCIM server and the connector, with keys of their own …")
	defer fmt.Fprintln(out, "\nBye.")
	person := ctx // ends when somebody stops the demo
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	group, ctx := errgroup.WithContext(ctx)
	err = d.start(ctx, group)
	if err == nil {
		group.Go(func() error {
			status, err := d.play(ctx)
			switch {
			case err != nil:
				return fmt.Errorf("demo: %w", err)
			case once:
				fmt.Fprintf(out, "\nTo look around in it:  %s demo\nThe real thing:        %[1]s serve\n", invocation())
				cancel()
			default:
				d.invite(status)
			}
			return nil
		})
	} else {
		cancel()
	}
	err = errors.Join(err, group.Wait())
	if person.Err() != nil || errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

// start brings a SCIM server and the connector up.
func (d *demo) start(ctx context.Context, group *errgroup.Group) error {
	token := secrets.NewToken()
	err := os.WriteFile(filepath.Join(d.dir, scimTokenFile), []byte(token+"\n"), 0o600)
	if err != nil {
		return fmt.Errorf("write token: %w", err)
	}
	if d.scim, err = scimserver.New(scimserver.Options{Token: token}); err != nil {
		return fmt.Errorf("SCIM server: %w", err)
	}
	scimListener, err := d.listenAt("127.0.0.1:8643")
	if err != nil {
		return err
	}
	d.scimAt = "http://" + scimListener.Addr().String()
	server := &http.Server{Handler: d.scim, ReadHeaderTimeout: 10 * time.Second}
	group.Go(func() error {
		if err := server.Serve(scimListener); !errors.Is(err, http.ErrServerClosed) {
			return fmt.Errorf("SCIM server: %w", err)
		}
		return nil
	})
	group.Go(func() error { <-ctx.Done(); return server.Close() })

	d.config, err = config.Load("", nil, map[string]any{"dataDir": d.dir, "instances.frontEndUrl": "https://app.example.com/{instanceId}"})
	if err != nil {
		return err
	}
	d.config.Targets = []config.Target{{Name: demoTarget, Type: "scim", URL: d.scimAt, Auth: config.Auth{Type: "bearer", Token: config.Secret(token)}}}
	if _, err := d.config.EnsureKeys(); err != nil {
		return err
	}
	listener, err := d.listenAt("127.0.0.1:8080")
	if err != nil {
		return err
	}
	a, err := newApp(ctx, d.config, slog.New(slog.NewTextHandler(d.out, &slog.HandlerOptions{Level: slog.LevelError})))
	if err != nil {
		_ = listener.Close()
		return err
	}
	group.Go(func() error { return a.run(ctx, listener) })
	d.base = "http://" + listener.Addr().String()
	d.api = &apiClient{base: d.base, token: d.config.AdminToken.Reveal(), http: http.DefaultClient}
	d.push, err = client.New(d.base+d.config.BasePath, d.config.KitKeys()[0], client.Options{})
	return err
}

// listenAt listens at an address, or at any free port if it is taken.
func (d *demo) listenAt(address string) (net.Listener, error) {
	listener, err := net.Listen("tcp", address)
	if err == nil {
		return listener, nil
	}
	if listener, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		return nil, fmt.Errorf("listen: %w", err)
	}
	fmt.Fprintf(d.out, "%s is taken; using %s.\n", address, listener.Addr())
	return listener, nil
}

// send pushes one payload and says what the door answered.
func (d *demo) send(ctx context.Context, what string, flag directory.Flag, payload directory.Payload) error {
	d.clock = d.clock.Add(100 * time.Millisecond)
	body, err := client.Body(d.scope, flag, directory.SourceTimeOf(d.clock), payload)
	if err != nil {
		return err
	}
	began := time.Now()
	answer, err := d.push.Push(ctx, payload.PushKind(), body)
	if err != nil {
		return err
	}
	fmt.Fprintf(d.out, "  %-16s %s → %s  %4d ms\n", payload.PushKind(), text.Pad(what, 52, ' '), answer.Code, time.Since(began).Milliseconds())
	if !answer.OK() {
		return fmt.Errorf("%s: %s %s", what, answer.Code, answer.Message)
	}
	return nil
}

// play binds the enterprise, edits it, and shows what came of it.
func (d *demo) play(ctx context.Context) (status admin.SyncStatus, err error) {
	departments, users := sampleCompany()
	public, err := os.ReadFile(filepath.Join(d.dir, config.PublicKeyFile))
	if err != nil {
		return status, fmt.Errorf("read public key: %w", err)
	}
	secret, err := secrets.EncryptFor(public, []byte("demo-client-secret"))
	if err != nil {
		return status, err
	}
	fmt.Fprintln(d.out, "An enterprise binds the application; the marketplace pushes, signed:")
	steps := []struct {
		what    string
		flag    directory.Flag
		payload directory.Payload
	}{
		{"the enterprise 云启科技", directory.FlagAdd, &directory.TenantPush{OrderID: "CS2211", Code: "yunqi", Name: "云启科技", DomainName: "yunqi.example.com"}},
		{"its application credential, RSA-encrypted", directory.FlagAdd, &directory.ApplicationPush{AppID: "app-1", ClientID: "client-1", ClientSecret: secret}},
		{fmt.Sprintf("all %d departments", len(departments)), directory.FlagModify, &directory.FullPush{Departments: departments}},
		{fmt.Sprintf("%d authorised users", len(users)), directory.FlagAdd, &directory.AuthPush{AppID: "app-1", Users: users}},
	}
	for _, s := range steps {
		if err := d.send(ctx, s.what, s.flag, s.payload); err != nil {
			return status, err
		}
	}
	fmt.Fprintln(d.out, "Then it edits them:")
	item := func(code, name, parent string) *directory.DepartmentPush {
		return &directory.DepartmentPush{DepartmentItem: directory.DepartmentItem{Code: code, Name: name, ParentCode: parent}}
	}
	edits := []struct {
		what    string
		flag    directory.Flag
		payload directory.Payload
	}{
		{"1200 is renamed", directory.FlagModify, item("1200", "产品与设计中心", "1000")},
		{"1300-2 moves below 1400", directory.FlagModify, item("1300-2", "上海市场部", "1400")},
		{"1800-6-5 is deleted", directory.FlagDelete, item("1800-6-5", "", "")},
		{"the parent that 9001 waited for comes", directory.FlagAdd, item("265789314", "海外事业部", "1000")},
		{"user0002 loses the authorisation", directory.FlagCancel, &directory.AuthPush{AppID: "app-1", Users: users[1:2]}},
		{"user0003 leaves", directory.FlagDelete, &directory.AuthPush{AppID: "app-1", Users: users[2:3]}},
		{"user0001 is pushed again, nothing to do", directory.FlagAdd, &directory.AuthPush{AppID: "app-1", Users: users[:1]}},
		{"an EMPTY department list, by mistake", directory.FlagModify, &directory.FullPush{}},
	}
	for _, s := range edits {
		if err := d.send(ctx, s.what, s.flag, s.payload); err != nil {
			return status, err
		}
	}
	if status, err = d.await(ctx); err != nil {
		return status, err
	}
	return status, d.show(ctx, status)
}

// await asks the API until every target has what the store has.
func (d *demo) await(ctx context.Context) (admin.SyncStatus, error) {
	query := url.Values{"tenantId": {d.scope.TenantID}, "instanceId": {d.scope.InstanceID}}
	ticker := time.NewTicker(50 * time.Millisecond)
	defer ticker.Stop()
	for {
		var status admin.SyncStatus
		if err := d.api.call(ctx, "GET", "/sync-status", query, nil, &status); err != nil {
			return status, err
		}
		done := len(status.Targets) > 0 && status.State != admin.Unknown
		for _, t := range status.Targets {
			done = done && t.Pending+t.Retrying == 0 && t.Delivered > 0
		}
		if done {
			return status, nil
		}
		select {
		case <-ctx.Done():
			return status, ctx.Err()
		case <-ticker.C:
		}
	}
}

func (d *demo) show(ctx context.Context, status admin.SyncStatus) error {
	var tree struct {
		Departments int
		Roots       []*treeNode
	}
	query := url.Values{"tenantId": {d.scope.TenantID}, "instanceId": {d.scope.InstanceID}}
	if err := d.api.call(ctx, "GET", "/departments/tree", query, nil, &tree); err != nil {
		return err
	}
	fmt.Fprintln(d.out, "\nThe tree as the store has it (two levels, the first of each):")
	l := list.NewWriter()
	l.SetStyle(list.StyleConnectedRounded)
	appendNodes(l, tree.Roots, 2)
	fmt.Fprintln(d.out, l.Render())

	fmt.Fprintln(d.out, "\nIs it synced?")
	writeStatus(d.out, []admin.SyncStatus{status})
	groups, users := d.scim.Counts()
	fmt.Fprintf(d.out, "The SCIM server has %d groups and %d users; the store has %d departments and %d users.\n", groups, users, status.Departments, status.Users)
	if status.HeldDeletions > 0 {
		fmt.Fprintf(d.out, "The empty list deleted nobody: %d deletions are held until somebody decides.\n", status.HeldDeletions)
	}
	return nil
}

// invite tells a person where to look while the demo runs.
func (d *demo) invite(status admin.SyncStatus) {
	token := filepath.Join(d.dir, config.AdminTokenFile)
	fmt.Fprintf(d.out, `
Still running, until Ctrl-C:
  production address  %[1]s%[2]s
  API                 %[1]s/api/v1
  SCIM server         %[3]s
Look further, from another terminal:
  curl -s -H "Authorization: Bearer $(cat %[4]s)" '%[1]s/api/v1/sync-status'
  curl -s -H "Authorization: Bearer $(cat %[4]s)" '%[1]s/api/v1/changes?after=0&limit=5'
  curl -s -H "Authorization: Bearer $(cat %[5]s)" '%[3]s/Groups?count=2'
  %[6]s status --url %[1]s --token-file %[4]s
  %[6]s holds reject %[7]s --url %[1]s --token-file %[4]s --reason "a wrong export"
`, d.base, d.config.BasePath, d.scimAt, token, filepath.Join(d.dir, scimTokenFile), invocation(), status.HeldPush)
}

// invocation is how to call this program again: `go run` leaves none behind.
func invocation() string {
	path, err := os.Executable()
	if err != nil || strings.Contains(path, "go-build") {
		return "go run ./cmd/orgsync"
	}
	return path
}

// treeNode is a department as the API's tree has it.
type treeNode struct {
	OrgCode, OrgName string
	ParentMissing    bool
	Children         []*treeNode
}

// appendNodes lists departments down to a depth, the first few of each level.
func appendNodes(l list.Writer, nodes []*treeNode, depth int) {
	const most = 9
	for i, n := range nodes {
		if i == most {
			l.AppendItem(fmt.Sprintf("… and %d more", len(nodes)-most))
			return
		}
		item := n.OrgName + " " + n.OrgCode
		if depth == 1 && len(n.Children) > 0 {
			item += fmt.Sprintf(" (+%d)", len(n.Children))
		}
		l.AppendItem(item)
		if depth > 1 && len(n.Children) > 0 {
			l.Indent()
			appendNodes(l, n.Children, depth-1)
			l.UnIndent()
		}
	}
}
