// Package ldap is the connector for directories that speak LDAPv3 (RFC 4511):
// departments are a tree of organizationalUnit entries, accounts are
// inetOrgPerson entries that stand under their department's.
//
// Our name for an entry is kept in an attribute, because a DN changes with
// every rename and with every move of an ancestor. The remote id is entryUUID
// (RFC 4530), which never changes. Whatever is found by name and does not carry
// our name for it belongs to somebody else and is not touched.
package ldap

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"time"

	ldapv3 "github.com/go-ldap/ldap/v3"

	"github.com/openkoo/connector/target"
	"github.com/openkoo/connector/target/egress"
)

const (
	defaultTimeout     = 30 * time.Second
	defaultConnections = 8
	// defaultExternalID may stand in both kinds of entry by the standard
	// schemas (RFC 4519, RFC 2798), takes any text, and is hardly ever used.
	defaultExternalID = "businessCategory"
	defaultRemoteID   = "entryUUID"
	// membersPerChange bounds the filter that looks the members up.
	membersPerChange = 50
)

// The classes of entry.
const (
	unitClass   = "organizationalUnit"
	personClass = "inetOrgPerson"
)

var attributeName = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9-]{0,63}$`)

// Config says how to reach a directory and where to write in it.
type Config struct {
	// URL is ldaps://host, ldap://host (StartTLS is then required, unless
	// Plaintext) or ldapi://path-escaped.
	URL              string
	BindDN, Password string
	// BaseDN must exist; everything is looked for below it.
	BaseDN string
	// DepartmentsDN is the root of the tree, default ou=departments under
	// BaseDN. Accounts without a department stand right under it.
	DepartmentsDN string
	// InactiveDN is where accounts go that may not sign in, default ou=inactive
	// under BaseDN. Applications must not look for accounts there.
	InactiveDN string
	// InactiveAttribute, if set, bars an account with this attribute and
	// InactiveValue in place of a move, e.g. nsAccountLock and TRUE.
	InactiveAttribute, InactiveValue string
	// ExternalIDAttribute keeps our name for an entry, default
	// businessCategory. Have the server index it for equality.
	ExternalIDAttribute string
	// RemoteIDAttribute names an entry for good, default entryUUID. Have the
	// server index it for equality.
	RemoteIDAttribute string
	// Plaintext lets ldap:// go without TLS.
	Plaintext bool
	CAFile    string // PEM of further authorities to trust
	// DenyPrivate refuses private and loopback addresses. Directories inside a
	// company's network are the rule, so they are allowed otherwise.
	DenyPrivate bool
	Timeout     time.Duration // of one operation, default 30 s
	Connections int           // at most at once, default 8
	ListPage    int           // entries that a page of a list asks for, default 500
}

func (c Config) withDefaults() Config {
	set := func(value *string, fallback string) {
		if *value == "" {
			*value = fallback
		}
	}
	set(&c.DepartmentsDN, "ou=departments,"+c.BaseDN)
	set(&c.InactiveDN, "ou=inactive,"+c.BaseDN)
	set(&c.ExternalIDAttribute, defaultExternalID)
	set(&c.RemoteIDAttribute, defaultRemoteID)
	if c.Timeout == 0 {
		c.Timeout = defaultTimeout
	}
	if c.ListPage == 0 {
		c.ListPage = listPage
	}
	if c.Connections == 0 {
		c.Connections = defaultConnections
	}
	return c
}

// Validate reports everything that is wrong at once.
func (c Config) Validate() error {
	var errs []error
	wrong := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	c = c.withDefaults()
	if err := checkURL(c.URL); err != nil {
		wrong("url: %w", err)
	}
	if (c.BindDN == "") != (c.Password == "") {
		wrong("auth: want both userName (the DN to bind as) and password, or neither")
	}
	base, err := ldapv3.ParseDN(c.BaseDN)
	if err != nil || len(base.RDNs) == 0 {
		wrong("baseDN: %q: want a DN such as dc=example,dc=com", c.BaseDN)
		base = nil
	}
	for name, text := range map[string]string{"departmentsDN": c.DepartmentsDN, "inactiveDN": c.InactiveDN} {
		dn, err := ldapv3.ParseDN(text)
		if base != nil && (err != nil || !base.AncestorOfFold(dn)) {
			wrong("%s: %q: want a DN below baseDN", name, text)
		}
	}
	for name, text := range map[string]string{"externalIDAttribute": c.ExternalIDAttribute, "remoteIDAttribute": c.RemoteIDAttribute, "inactiveAttribute": c.InactiveAttribute} {
		if text != "" && !attributeName.MatchString(text) {
			wrong("%s: %q: want the name of an attribute", name, text)
		}
	}
	if c.InactiveAttribute != "" && c.InactiveValue == "" {
		wrong("inactiveValue: empty; want what inactiveAttribute %s is set to", c.InactiveAttribute)
	}
	if c.Timeout < 0 {
		wrong("timeout: less than zero")
	}
	if c.Connections < 0 {
		wrong("connections: less than zero")
	}
	return errors.Join(errs...)
}

func checkURL(text string) error {
	if _, ok := socketPath(text); ok {
		return nil
	}
	u, err := url.Parse(text)
	switch {
	case err != nil:
		return err
	case u.Hostname() == "" || (u.Scheme != "ldap" && u.Scheme != "ldaps"):
		return fmt.Errorf("%q: want ldaps:// or ldap:// and a host, or ldapi://", text)
	case u.User != nil || (u.Path != "" && u.Path != "/") || u.RawQuery != "" || u.Fragment != "":
		return errors.New("want scheme, host and port only; DNs have settings of their own")
	default:
		return nil
	}
}

// Connector implements target.Connector.
type Connector struct {
	config Config
	pool   *pool
}

var _ target.Connector = (*Connector)(nil)

// New makes a connector; nothing is sent yet.
func New(config Config) (*Connector, error) {
	if err := config.Validate(); err != nil {
		return nil, fmt.Errorf("ldap: %w", err)
	}
	config = config.withDefaults()
	trust, err := egress.TLS(config.CAFile)
	if err != nil {
		return nil, fmt.Errorf("ldap: %w", err)
	}
	return &Connector{config: config, pool: newPool(config, trust)}, nil
}

// Close implements target.Connector.
func (c *Connector) Close() error {
	c.pool.close()
	return nil
}

// Describe implements target.Connector: it binds, looks at the base and makes
// the two containers if they are not there.
func (c *Connector) Describe(ctx context.Context) (target.Capabilities, error) {
	if err := c.lookAtBase(ctx); err != nil {
		return target.Capabilities{}, err
	}
	for _, dn := range c.containers() {
		if _, err := c.ensureContainer(ctx, dn); err != nil {
			return target.Capabilities{}, asDown(err)
		}
	}
	return target.Capabilities{NativeParent: true, Memberships: true, MembersPerChange: membersPerChange}, nil
}

func (c *Connector) lookAtBase(ctx context.Context) error {
	const op = "look at the base"
	base, ok, err := c.entryAt(ctx, op, c.config.BaseDN)
	switch {
	case err != nil:
		return asDown(err)
	case !ok:
		return down(op, "baseDN "+c.config.BaseDN+" does not exist or may not be read")
	case base.id == "":
		return down(op, "entries have no "+c.config.RemoteIDAttribute+", which names them for good; set remoteIDAttribute to what this server has in its place")
	default:
		return nil
	}
}

func (c *Connector) containers() []string {
	if c.config.InactiveAttribute != "" {
		return []string{c.config.DepartmentsDN}
	}
	return []string{c.config.DepartmentsDN, c.config.InactiveDN}
}

// ensureContainer makes a container that is not there, and reports whether it did.
func (c *Connector) ensureContainer(ctx context.Context, dn string) (made bool, err error) {
	op := "make container " + dn
	if _, ok, err := c.entryAt(ctx, op, dn); err != nil || ok {
		return false, err
	}
	at, err := splitDN(dn)
	if err != nil {
		return false, down(op, err.Error())
	}
	if at.attribute != "ou" {
		return false, down(op, "it does not exist, and only an ou can be made here; make it yourself")
	}
	request := ldapv3.NewAddRequest(dn, nil)
	request.Attribute("objectClass", []string{"top", unitClass})
	err = c.pool.do(ctx, op, func(conn *ldapv3.Conn) error { return conn.Add(request) })
	if is(err, ldapv3.LDAPResultEntryAlreadyExists) {
		return true, nil // somebody was faster
	}
	return err == nil, err
}

// inContainer does what puts an entry under a parent, once more if that is one
// of our containers, which somebody has deleted: it is made again.
func (c *Connector) inContainer(ctx context.Context, parent string, do func() error) error {
	err := do()
	if !is(err, ldapv3.LDAPResultNoSuchObject) {
		return err
	}
	for _, dn := range c.containers() {
		if !sameDN(dn, parent) {
			continue
		}
		made, failed := c.ensureContainer(ctx, dn)
		switch {
		case failed != nil:
			return asDown(failed)
		case made:
			return do()
		}
	}
	return err
}
