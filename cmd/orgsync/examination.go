package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/openkoo/connector/config"
	"github.com/openkoo/connector/coordination/redis"
	"github.com/openkoo/connector/doctor"
	"github.com/openkoo/connector/secrets"
	"github.com/openkoo/connector/storage/embedded"
	"github.com/openkoo/connector/storage/mongo"
	"github.com/openkoo/connector/target"
	"github.com/openkoo/connector/target/egress"
)

// examination gathers what the doctor is to look at.
type examination struct {
	config  *config.Config
	keys    doctor.Keys
	box     doctor.Opener // nil without an encryption key
	server  *runningServer
	targets []doctor.Target

	connectors []target.Connector
}

func (e *examination) close() {
	for _, connector := range e.connectors {
		_ = connector.Close() // it has looked
	}
}

// prepare reads the keys and makes the connectors; nothing is sent yet.
func (e *examination) prepare(api *apiFlags) error {
	e.findKeys()
	client := &apiClient{base: strings.TrimRight(api.url, "/"), token: e.config.AdminToken.Reveal(), http: &http.Client{Timeout: callTimeout}}
	if client.base == "" {
		client.base = localAddress(e.config.Listen)
	}
	if api.tokenFile != "" {
		token, err := secrets.ReadFile(api.tokenFile)
		if err != nil {
			return fmt.Errorf("admin token: %w", err)
		}
		client.token = string(token)
	}
	e.server = &runningServer{client}
	for i := range e.config.Targets {
		t := &e.config.Targets[i]
		connector, err := connectorTypes[t.Type].open(t)
		if err != nil {
			return fmt.Errorf("target %q: %w", t.Name, err)
		}
		e.connectors = append(e.connectors, connector)
		checker, ok := connector.(target.Checker)
		if !ok {
			continue
		}
		e.targets = append(e.targets, doctor.Target{
			Name: t.Name, Type: t.Type, Setting: fmt.Sprintf("targets[%d]", i), Checker: checker,
			Route: egress.Route{URL: t.URL, CAFile: t.CAFile, AllowPrivate: allowsPrivate(t, t.Type != "webhook")},
		})
	}
	return nil
}

// findKeys reads the keys that are there, and makes none.
func (e *examination) findKeys() {
	c := e.config
	own := map[string]bool{config.AccessKeyFile: len(c.KitAccessKeys) == 0, config.AdminTokenFile: c.AdminToken == "", config.EncryptionKeyFile: c.EncryptionKey == ""}
	e.keys.Files = []doctor.KeyFile{{Path: filepath.Join(c.DataDir, config.PreviousKeysFile)}}
	for _, name := range slices.Sorted(maps.Keys(own)) {
		e.keys.Files = append(e.keys.Files, doctor.KeyFile{Path: filepath.Join(c.DataDir, name), Required: own[name]})
	}
	ownPair := c.AppPrivateKeyFile == ""
	if err := c.FindKeys(); err != nil {
		e.keys.Faults = faultsOf(err)
	}
	e.keys.Files = append(e.keys.Files, doctor.KeyFile{Path: c.AppPrivateKeyFile, Required: true})
	if !ownPair {
		if err := checkPrivateKey(c.AppPrivateKeyFile); err != nil {
			e.keys.Faults = append(e.keys.Faults, err)
		}
	}
	e.keys.AccessKeys = slices.Concat(c.KitKeys(), c.BaseKeys())
	slices.Sort(e.keys.AccessKeys)
	e.keys.AccessKeys = slices.Compact(e.keys.AccessKeys)
	_, err := os.Stat(filepath.Join(c.DataDir, embedded.FileName))
	e.keys.Fresh = c.MongoURI == "" && errors.Is(err, fs.ErrNotExist)
	if c.EncryptionKey != "" {
		if box, err := openBox(c); err == nil {
			e.box = box
		}
	}
}

func checkPrivateKey(path string) error {
	text, err := secrets.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // told as a file that is missing
	}
	if err != nil {
		return fmt.Errorf("appPrivateKeyFile: %w", err)
	}
	if _, err := secrets.ParsePrivateKey(text); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

func (e *examination) checks() []doctor.Check {
	c := e.config
	checks := []doctor.Check{
		doctor.CheckConfiguration(nil, summary(c)), doctor.CheckKeys(e.keys), doctor.CheckDirectory(c.DataDir, nil),
	}
	if c.MongoURI == "" {
		checks = append(checks, doctor.CheckEmbedded(c.DataDir, e.box, e.server))
	} else {
		checks = append(checks, doctor.CheckMongo(func(ctx context.Context) (mongo.Inspection, error) {
			return mongo.Inspect(ctx, c.MongoURI.Reveal(), c.MongoDatabase)
		}, e.box, e.server))
	}
	if c.RedisURL != "" {
		checks = append(checks, doctor.CheckRedis(func(ctx context.Context) (redis.Inspection, error) {
			return redis.Inspect(ctx, c.RedisURL.Reveal())
		}))
	}
	for _, t := range e.targets {
		checks = append(checks, doctor.CheckTarget(t))
	}
	if c.Instances.Provisioner == "webhook" {
		checks = append(checks, doctor.CheckSeller(egress.Route{URL: c.Instances.WebhookURL.Reveal(), CAFile: c.Instances.CAFile, AllowPrivate: true}))
	}
	by, keys := triedBy(c)
	public := doctor.Public{URL: c.PublicURL, By: by}
	if len(keys) > 0 {
		public.Key = keys[0]
	}
	return append(checks, doctor.CheckClock(e.hosts(), nil), doctor.CheckPublic(public))
}

// triedBy is the interface by which the public address is tried, and its keys.
func triedBy(c *config.Config) (doctor.Interface, []string) {
	switch {
	case c.Interfaces.KitV2:
		return doctor.KitV2, c.KitKeys()
	case c.Interfaces.BaseV2:
		return doctor.BaseV2, c.BaseKeys()
	case c.Interfaces.KitV1:
		return doctor.KitV1, c.KitKeys()
	default:
		return doctor.BaseV1, c.BaseKeys()
	}
}

// hosts are those whose clocks can be asked. A webhook is sent nothing.
func (e *examination) hosts() []doctor.Host {
	var hosts []doctor.Host
	for _, t := range e.targets {
		if t.Type == "scim" || t.Type == "keycloak" {
			hosts = append(hosts, doctor.Host{Name: t.Name, Route: t.Route})
		}
	}
	if e.config.PublicURL != "" {
		hosts = append(hosts, doctor.Host{Name: "the public address", Route: egress.Route{URL: e.config.PublicURL, AllowPrivate: true}})
	}
	return hosts
}

func summary(c *config.Config) string {
	store := "the embedded store"
	if c.MongoURI != "" {
		store = "MongoDB"
	}
	if c.RedisURL != "" {
		store += " and Redis"
	}
	text := fmt.Sprintf("without faults: %s, %s", store, plural(len(c.Targets), "target"))
	if i := &c.Instances; i.Provisioner == "static" && i.FrontEndURL == "" && i.License == "" && (c.Interfaces.BaseV1 || c.Interfaces.BaseV2) {
		text += "; instances.frontEndUrl is empty, so that orders wait until somebody completes them"
	}
	return text
}

// runningServer is the connector that runs on this configuration.
type runningServer struct{ client *apiClient }

// Ready implements doctor.Server.
func (r *runningServer) Ready(ctx context.Context) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, r.client.base+"/readyz", nil)
	if err != nil {
		return fmt.Errorf("--url: %w", err)
	}
	response, err := r.client.http.Do(request)
	if err != nil {
		if operation, ok := errors.AsType[*net.OpError](err); ok {
			err = operation.Err
		}
		return fmt.Errorf("%w at %s: %w", doctor.ErrNoServer, r.client.base, err)
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("%s/readyz answers HTTP %d", r.client.base, response.StatusCode)
	}
	return nil
}

// State implements doctor.Server.
func (r *runningServer) State(ctx context.Context) (string, error) {
	state, _, err := readStatus(ctx, r.client, url.Values{"dataset": {"prod"}})
	return string(state), err
}
