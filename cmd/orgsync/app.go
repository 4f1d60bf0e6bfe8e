package main

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"golang.org/x/sync/errgroup"

	"github.com/openkoo/connector/admin"
	"github.com/openkoo/connector/authsync"
	"github.com/openkoo/connector/config"
	"github.com/openkoo/connector/directory"
	"github.com/openkoo/connector/fanout"
	"github.com/openkoo/connector/instance"
	"github.com/openkoo/connector/intake"
	"github.com/openkoo/connector/marketplace"
	"github.com/openkoo/connector/marketplace/client"
	"github.com/openkoo/connector/orgsync"
	"github.com/openkoo/connector/restore"
	"github.com/openkoo/connector/secrets"
	"github.com/openkoo/connector/storage"
	usersync "github.com/openkoo/connector/userSync"
)

// shutdownTimeout is how long requests under way may take to finish.
const shutdownTimeout = 15 * time.Second

// adoptInterval is how often to look for pushes that were left unfinished: by
// another replica that died, or here while the store was sick.
const adoptInterval = 15 * time.Second

// adoptAge is how old a push must be to be taken over: more than its own
// replica may take to answer it.
const adoptAge = 2 * time.Minute

// app is the connector, wired.
type app struct {
	config *config.Config
	logger *slog.Logger
	*backends
	made      []string // files of secrets, by this start
	intake    *intake.Service
	instances *instance.Service
	fanout    *fanout.Fanout
	http      *http.Server
	// longestWait is how far ahead a delivery is put off at the most.
	longestWait time.Duration
}

// newApp wires a validated configuration. It opens the store first: whoever has
// the data directory may be changing the keys in it.
func newApp(ctx context.Context, c *config.Config, logger *slog.Logger) (*app, error) {
	opened, err := openBackends(ctx, c, logger)
	if err != nil {
		return nil, err
	}
	a := &app{config: c, logger: logger, backends: opened}
	if err := a.open(); err != nil {
		return nil, errors.Join(err, opened.close())
	}
	return a, nil
}

func (a *app) open() (err error) {
	if a.made, err = a.config.EnsureKeys(); err != nil {
		return err
	}
	keyring, err := openKeyring(a.config)
	if err != nil {
		return err
	}
	return a.wire(keyring)
}

func openKeyring(c *config.Config) (secrets.Keyring, error) {
	box, err := openBox(c)
	if err != nil {
		return secrets.Keyring{}, err
	}
	text, err := secrets.ReadFile(c.AppPrivateKeyFile)
	if err != nil {
		return secrets.Keyring{}, fmt.Errorf("appPrivateKeyFile: %w", err)
	}
	decrypter, err := secrets.ParsePrivateKey(text)
	if err != nil {
		return secrets.Keyring{}, fmt.Errorf("%s: %w", c.AppPrivateKeyFile, err)
	}
	return secrets.Keyring{Box: box, Decrypter: decrypter}, nil
}

// openBox makes the box of the present encryption key and the earlier ones.
func openBox(c *config.Config) (*secrets.Box, error) {
	var keys [][]byte
	for _, text := range append([]config.Secret{c.EncryptionKey}, c.PreviousEncryptionKeys...) {
		key, err := base64.StdEncoding.DecodeString(text.Reveal())
		if err != nil {
			return nil, fmt.Errorf("encryptionKey: %w", err)
		}
		keys = append(keys, key)
	}
	return secrets.NewBox(keys...)
}

func (a *app) wire(keyring secrets.Keyring) error {
	registry := prometheus.NewRegistry()
	registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	guard := directory.Guard{MaxDeletes: a.config.Guard.MaxDeletes, MaxPercent: a.config.Guard.MaxPercent}
	planners := intake.Planners(orgsync.New(guard), authsync.New(usersync.Planner{}, keyring))
	a.intake = intake.New(a.store, planners, marketplace.Decode, intake.Options{Logger: a.logger, Registerer: registry})

	targets, err := buildTargets(a.config.Targets)
	if err != nil {
		return err
	}
	a.longestWait = fanout.LongestWait(targets)
	options := fanout.Options{Logger: a.logger, Registerer: registry}
	if a.shared {
		options.Coordination = a.coordination
	}
	if a.fanout, err = fanout.New(a.store, targets, options); err != nil {
		return err
	}
	if err := a.openInstances(keyring, registry); err != nil {
		return err
	}
	api, err := admin.New(admin.Options{
		Token: a.config.AdminToken.Reveal(), Reader: a.store, Replayer: a.store, Health: a.store, Decider: a.intake, Restorer: a.restorer(), Deliverer: a.fanout,
		Resyncer: a.fanout, Reports: a.store,
		Revealer: keyring, Matches: matches(targets), Coordination: a.health, Instances: a.store, Completer: a.instances,
		Gatherer: registry, Registerer: registry, Logger: a.logger,
	})
	if err != nil {
		return err
	}
	handler, err := a.routes(api, registry)
	if err != nil {
		return err
	}
	a.http = &http.Server{
		Handler: handler, ReadHeaderTimeout: 10 * time.Second, ReadTimeout: 2 * time.Minute, IdleTimeout: 2 * time.Minute,
		WriteTimeout:   5 * time.Minute, // reading a body, a minute of work, and a slow reader
		MaxHeaderBytes: 64 << 10, ErrorLog: slog.NewLogLogger(a.logger.Handler(), slog.LevelWarn),
	}
	return nil
}

// restorer undoes pushes; what it makes of the journal goes in as a push does.
func (a *app) restorer() *restore.Service {
	codec := restore.Codec{Decode: marketplace.Decode, Encode: client.Body}
	return restore.New(a.store, a.store, a.intake, codec, restore.Options{Logger: a.logger})
}

func matches(targets []fanout.Target) func(string, directory.Scope) bool {
	byName := make(map[string]storage.Match, len(targets))
	for _, t := range targets {
		byName[t.Name] = t.Match
	}
	return func(name string, scope directory.Scope) bool {
		match := byName[name]
		return match == nil || match(scope)
	}
}

// run finishes what a crash interrupted, then serves on the listener until ctx
// ends. It closes the store.
func (a *app) run(ctx context.Context, listener net.Listener) (err error) {
	defer func() { err = errors.Join(err, a.close()) }()
	age := time.Duration(0) // nobody else is at them
	if a.shared {
		age = adoptAge
	}
	a.recover(ctx, age)
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return a.fanout.Run(ctx) })
	group.Go(func() error { return a.instances.Run(ctx) })
	group.Go(func() error { return a.sweep(ctx) })
	group.Go(func() error { return a.hasten(ctx, time.Now) })
	group.Go(func() error { return a.adopt(ctx, adoptInterval, adoptAge) })
	group.Go(func() error {
		if err := a.http.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			return fmt.Errorf("serve: %w", err)
		}
		return nil
	})
	group.Go(func() error {
		<-ctx.Done()
		return a.shutDown(context.WithoutCancel(ctx), shutdownTimeout)
	})
	return group.Wait()
}

// shutDown lets the requests under way finish. Those that do not are cut off,
// and that is no failure: anybody can hold a request open.
func (a *app) shutDown(ctx context.Context, patience time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	err := a.http.Shutdown(ctx)
	if errors.Is(err, context.DeadlineExceeded) {
		a.logger.Warn("requests that did not end are cut off; a push among them that was journaled is finished at the next start", "after", patience)
		err = a.http.Close()
	}
	a.intake.Wait(ctx)
	if err != nil {
		return fmt.Errorf("shut down: %w", err)
	}
	return nil
}

// recover finishes the pushes that were left unfinished longer than age ago.
func (a *app) recover(ctx context.Context, age time.Duration) {
	finished, err := a.intake.Recover(ctx, age)
	if err != nil && ctx.Err() == nil {
		a.logger.Error("some interrupted pushes could not be finished", "error", err)
	}
	if finished > 0 {
		a.logger.Info("interrupted pushes are finished", "count", finished)
	}
}

// adopt finishes, now and then, what was left unfinished.
func (a *app) adopt(ctx context.Context, every, age time.Duration) error {
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
			a.recover(ctx, age)
		}
	}
}

// hastenInterval is how often to look for deliveries that a wrong clock has put
// off.
const hastenInterval = time.Hour

// hasten makes due, at start and hourly, what was put off by a clock that was
// ahead then: it would wait until that time comes.
func (a *app) hasten(ctx context.Context, now func() time.Time) error {
	ticker := time.NewTicker(hastenInterval)
	defer ticker.Stop()
	for {
		n, err := a.store.Hasten(ctx, now().Add(a.longestWait))
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			a.logger.Error("cannot look for deliveries that a wrong clock has put off; trying again later", "error", err)
		case n > 0:
			a.logger.Warn("deliveries were put off by a clock that was ahead; they are due now", "count", n)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}

// sweep removes what is past keeping, now and then.
func (a *app) sweep(ctx context.Context) error {
	ticker := time.NewTicker(a.config.Retention.Interval)
	defer ticker.Stop()
	for {
		now := time.Now()
		before := func(keep time.Duration) time.Time {
			if keep == 0 {
				return time.Time{}
			}
			return now.Add(-keep)
		}
		r := a.config.Retention
		swept, err := a.store.Sweep(ctx, storage.SweepTimes{Journal: before(r.Journal), Tombstones: before(r.Tombstones), TestData: before(r.TestData)})
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			a.logger.Error("sweep failed; trying again later", "error", err)
		case swept != storage.Swept{}:
			a.logger.Info("swept", "journal", swept.Journal, "tombstones", swept.Tombstones, "testData", swept.TestData)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}
