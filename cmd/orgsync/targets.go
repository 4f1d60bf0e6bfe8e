package main

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strings"

	"github.com/openkoo/connector/config"
	"github.com/openkoo/connector/coordination"
	"github.com/openkoo/connector/directory"
	"github.com/openkoo/connector/fanout"
	"github.com/openkoo/connector/storage"
	"github.com/openkoo/connector/target"
	"github.com/openkoo/connector/target/egress"
	"github.com/openkoo/connector/target/keycloak"
	"github.com/openkoo/connector/target/ldap"
	"github.com/openkoo/connector/target/mapping"
	"github.com/openkoo/connector/target/scim"
	"github.com/openkoo/connector/target/webhook"
)

// connectorType is what a target's type stands for.
type connectorType struct {
	// private says that private addresses may be dialled if nothing is said. A
	// webhook's receiver is the one that an outsider may have a say in.
	private  bool
	validate func(*config.Target) error
	open     func(*config.Target) (target.Connector, error)
	// schema is what may be mapped; nil: nothing.
	schema func(*config.Target) mapping.Schema
}

var connectorTypes = map[string]connectorType{
	"scim":     of(scimConfig, scim.New, true),
	"webhook":  of(webhookConfig, webhook.New, false),
	"ldap":     of(ldapConfig, ldap.New, true),
	"keycloak": of(keycloakConfig, keycloak.New, true),
}

// of joins a connector's configuration and its constructor.
func of[C interface{ Validate() error }, T target.Connector](configure func(*config.Target) C, open func(C) (T, error), private bool) connectorType {
	kind := connectorType{
		private:  private,
		validate: func(t *config.Target) error { return configure(t).Validate() },
		open: func(t *config.Target) (target.Connector, error) {
			connector, err := open(configure(t))
			if err != nil {
				return nil, err // a nil of its own type would not be nil
			}
			return connector, nil
		},
	}
	var none C
	if _, ok := any(none).(mappable); ok {
		kind.schema = func(t *config.Target) mapping.Schema { return any(configure(t)).(mappable).Schema() } //nolint:forcetypeassert // just seen
	}
	return kind
}

// mappable is the configuration of a connector whose attributes can be mapped.
type mappable interface{ Schema() mapping.Schema }

// mappingOf compiles a target's mapping; nil if it has none.
func (k connectorType) mappingOf(t *config.Target) (fanout.Mapping, error) {
	rules := mapping.Rules{User: t.Mapping.User, Department: t.Mapping.Department}
	if rules.Empty() || k.schema == nil {
		return nil, nil
	}
	mapper, err := mapping.Compile(k.schema(t), rules)
	if err != nil {
		return nil, errors.New("mapping." + strings.ReplaceAll(err.Error(), "\n", "\nmapping."))
	}
	return mapper, nil
}

func scimConfig(t *config.Target) scim.Config {
	return scim.Config{
		URL: t.URL, BearerToken: t.Auth.Token.Reveal(), UserName: t.Auth.UserName, Password: t.Auth.Password.Reveal(),
		Protocol: scim.Protocol{
			Profile: scim.Profile(t.SCIM.Profile), UserChanges: scim.Method(t.SCIM.UserChanges), GroupChanges: scim.Method(t.SCIM.GroupChanges),
			Lookup: scim.Lookup(t.SCIM.Lookup), Removal: scim.Removal(t.SCIM.MemberRemoval), Groups: scim.Use(t.SCIM.Groups), Bulk: scim.Use(t.SCIM.Bulk),
			Names: scim.Names(t.SCIM.Names), Discovery: scim.Use(t.SCIM.Discovery),
		},
		Parents: scim.Parents(t.Parents), Timeout: t.Timeout, CAFile: t.CAFile, MembersPerChange: t.MembersPerChange, Plaintext: t.Plaintext,
		DenyPrivate: !allowsPrivate(t, true),
	}
}

func webhookConfig(t *config.Target) webhook.Config {
	return webhook.Config{
		URL: t.URL, Secrets: t.Auth.SigningSecrets(), Timeout: t.Timeout, CAFile: t.CAFile, AllowPrivate: allowsPrivate(t, false), Plaintext: t.Plaintext,
	}
}

func ldapConfig(t *config.Target) ldap.Config {
	return ldap.Config{
		URL: t.URL, BindDN: t.Auth.UserName, Password: t.Auth.Password.Reveal(),
		BaseDN: t.LDAP.BaseDN, DepartmentsDN: t.LDAP.DepartmentsDN, InactiveDN: t.LDAP.InactiveDN,
		InactiveAttribute: t.LDAP.InactiveAttribute, InactiveValue: t.LDAP.InactiveValue,
		ExternalIDAttribute: t.LDAP.ExternalIDAttribute, RemoteIDAttribute: t.LDAP.RemoteIDAttribute,
		Plaintext: t.Plaintext, CAFile: t.CAFile, Timeout: t.Timeout, Connections: t.Concurrency,
		DenyPrivate: !allowsPrivate(t, true),
	}
}

func keycloakConfig(t *config.Target) keycloak.Config {
	return keycloak.Config{
		URL: t.URL, Realm: t.Realm, ClientID: t.Auth.UserName, ClientSecret: t.Auth.Password.Reveal(),
		Timeout: t.Timeout, CAFile: t.CAFile, Plaintext: t.Plaintext, DenyPrivate: !allowsPrivate(t, true),
	}
}

// reachable reports what would keep every connection from coming about:
// authorities that cannot be read, an address that is not to be dialled. What a
// name resolves to is for the dial to find out.
func (k connectorType) reachable(t *config.Target) error {
	_, err := egress.TLS(t.CAFile)
	u, unread := url.Parse(t.URL)
	if unread != nil {
		return err // the connector says so
	}
	if address, named := netip.ParseAddr(u.Hostname()); named == nil {
		if forbidden := egress.Check(address, allowsPrivate(t, k.private)); forbidden != nil {
			err = errors.Join(err, fmt.Errorf("url: %w", forbidden))
		}
	}
	return err
}

// allowsPrivate is the target's own word, or its type's default.
func allowsPrivate(t *config.Target, fallback bool) bool {
	if t.AllowPrivate != nil {
		return *t.AllowPrivate
	}
	return fallback
}

// whereabouts is a target's URL as it may be shown: the path of a webhook may
// be a secret.
func whereabouts(t *config.Target) string {
	u, err := url.Parse(t.URL)
	switch {
	case t.Type != "webhook":
		return t.URL
	case err != nil:
		return ""
	default:
	}
	return u.Scheme + "://" + u.Host
}

// places says where a connector's settings stand in YAML, if not right under
// the target.
var places = map[string]string{
	"secrets": "auth", "baseDN": "ldap", "departmentsDN": "ldap", "inactiveDN": "ldap", "inactiveAttribute": "ldap", "inactiveValue": "ldap",
	"externalIDAttribute": "ldap", "remoteIDAttribute": "ldap",
	"profile": "scim", "userChanges": "scim", "groupChanges": "scim", "lookup": "scim", "memberRemoval": "scim", "groups": "scim", "bulk": "scim", "names": "scim", "discovery": "scim",
}

// checkTargets reports what a connector would not take, all at once.
func checkTargets(configured []config.Target) error {
	var errs []error
	for i := range configured {
		kind, ok := connectorTypes[configured[i].Type]
		if !ok {
			continue // refused already
		}
		_, unmapped := kind.mappingOf(&configured[i])
		if err := errors.Join(kind.validate(&configured[i]), kind.reachable(&configured[i]), unmapped); err != nil {
			for line := range strings.SplitSeq(err.Error(), "\n") {
				name, _, _ := strings.Cut(line, ":")
				name, _, _ = strings.Cut(name, "[")
				if place := places[name]; place != "" {
					line = place + "." + line
				}
				errs = append(errs, fmt.Errorf("targets[%d].%s", i, line))
			}
		}
	}
	return errors.Join(errs...)
}

// nameTargets puts the name of its target before each fault that is about one,
// and the faults of one target together: nobody should have to count entries.
func nameTargets(configured []config.Target, err error) error {
	if err == nil {
		return nil
	}
	of := func(fault error) int {
		for i := range configured {
			if strings.HasPrefix(fault.Error(), fmt.Sprintf("targets[%d]", i)) {
				return i
			}
		}
		return -1
	}
	faults := faultsOf(err)
	slices.SortStableFunc(faults, func(a, b error) int { return of(a) - of(b) })
	for n, fault := range faults {
		if i := of(fault); i >= 0 && configured[i].Name != "" {
			faults[n] = fmt.Errorf("target %q: %w", configured[i].Name, fault)
		}
	}
	return errors.Join(faults...)
}

func buildTargets(configured []config.Target) ([]fanout.Target, error) {
	var targets []fanout.Target
	var errs []error
	for i := range configured {
		t := &configured[i]
		mapped, err := connectorTypes[t.Type].mappingOf(t)
		var connector target.Connector
		if err == nil {
			connector, err = connectorTypes[t.Type].open(t)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("target %q: %w", t.Name, err))
			continue
		}
		targets = append(targets, fanout.Target{
			Name: t.Name, Type: t.Type, Connector: connector, Match: matchOf(t), Selection: selectionOf(t), Address: placeOf(t),
			OnRevoke: fanout.Policy(t.OnRevoke), OnDelete: fanout.Policy(t.OnDelete),
			OnFreeze: fanout.Policy(t.OnFreeze), OnRelease: fanout.Policy(t.OnRelease),
			UserNames: fanout.Naming(t.UserNames), Mapping: mapped, Concurrency: t.Concurrency,
			Removals: removalsOf(t), DeleteAfter: t.DeleteAfter, QuarantineAfter: t.QuarantineAfter, ResyncEvery: t.ResyncEvery,
			Backoff: fanout.Backoff(t.Backoff), Rate: coordination.Rate(t.Rate),
		})
	}
	return targets, errors.Join(errs...)
}

// removalsOf is the target's limit of deletions, where it names one.
func removalsOf(t *config.Target) *fanout.RemovalLimit {
	limit := fanout.DefaultRemovals
	if n := t.Removals.MaxPerHour; n != nil {
		limit.PerHour = *n
	}
	if n := t.Removals.MaxPercent; n != nil {
		limit.Percent = *n
	}
	return &limit
}

// placeOf says where a target is whose ids may be others' at another server,
// and whatever the way there.
func placeOf(t *config.Target) string {
	u, err := url.Parse(t.URL)
	if err != nil || t.Type != "scim" { // ldap and keycloak have ids that are nobody else's
		return ""
	}
	return strings.ToLower(u.Host) + strings.TrimRight(u.Path, "/")
}

// selectionOf names what matchOf lets through; empty for all production data.
func selectionOf(t *config.Target) string {
	tenants := slices.Compact(slices.Sorted(slices.Values(t.Tenants)))
	if all := len(tenants) == 0 || slices.Contains(tenants, "*"); all && !t.TestData {
		return ""
	} else if all {
		tenants = []string{"*"}
	}
	return fmt.Sprintf("test=%t %q", t.TestData, tenants)
}

// matchOf says which scopes a target wants: production data, or debugging data
// where it asks for it, of the tenants it names.
func matchOf(t *config.Target) storage.Match {
	wanted, tenants := directory.Prod, slices.Clone(t.Tenants)
	if t.TestData {
		wanted = directory.Test
	}
	all := len(tenants) == 0 || slices.Contains(tenants, "*")
	return func(scope directory.Scope) bool {
		return scope.Dataset == wanted && (all || slices.Contains(tenants, scope.TenantID))
	}
}
