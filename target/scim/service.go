package scim

import (
	"context"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"

	"github.com/openkoo/connector/target"
)

// provider is what we read of ServiceProviderConfig (RFC 7643 §5).
type provider struct {
	Patch struct{ Supported bool } `json:"patch"`
	Bulk  struct {
		Supported      bool
		MaxOperations  int
		MaxPayloadSize int
	} `json:"bulk"`
}

// model is what the server says of its resources: ResourceTypes and Schemas
// (RFC 7643 §6, §7). Nil members are not known.
type model struct {
	// groups is whether there are any; nil when the server does not say.
	groups *bool
	// extensions are the schemas that its users may have, in lower case.
	extensions map[string]bool
	// attributes are the paths of each schema, in lower case.
	attributes map[string]map[string]bool
	// readOnly are top-level attributes that a PUT leaves out.
	readOnly map[string]bool
	// taken is what takes says of the attributes that every object is asked
	// about, by schema and path.
	taken map[[2]string]bool
}

// service is what is known of the server. It is read by Describe, and
// corrected by what the server's answers show.
type service struct {
	provider atomic.Pointer[provider] // nil: it has none, or was not read yet
	model    atomic.Pointer[model]    // nil: to be read

	// What answers have shown since Describe read the server's own word.
	usersPut, groupsPut atomic.Bool // PATCH was refused
	noExternalID        atomic.Bool // a filter by externalId was refused
	membersHidden       atomic.Bool // an answer to a change does not tell members truly
	removesStrictly     atomic.Bool // the removal of what is not there was refused
}

// doubt has Describe read everything anew: an answer did not fit what the
// server said of itself.
func (s *service) doubt() { s.model.Store(nil) }

// resourceTypes is the part of ResourceTypes that counts.
type resourceTypes struct {
	Resources []struct {
		Endpoint         string
		Schema           string
		SchemaExtensions []struct{ Schema string }
	}
}

// schemas is the part of Schemas that counts.
type schemas struct {
	Resources []struct {
		ID         string
		Attributes []struct {
			Name, Mutability string
			SubAttributes    []struct{ Name string }
		}
	}
}

// readModel reads ResourceTypes and Schemas. Many servers have neither, or a
// page for people in their place: what is not told is not known.
func (c *Connector) readModel(ctx context.Context) (*model, error) {
	m := &model{}
	if c.config.Protocol.Discovery == UseOff {
		return m, nil
	}
	var types resourceTypes
	if err := c.readOptional(ctx, "read ResourceTypes", "/ResourceTypes", &types); err != nil {
		return nil, err
	}
	m.note(types)
	var all schemas
	if err := c.readOptional(ctx, "read Schemas", "/Schemas", &all); err != nil {
		return nil, err
	}
	m.noteSchemas(all)
	m.judge()
	return m, nil
}

// judge decides about the attributes of all objects once.
func (m *model) judge() {
	m.taken = make(map[[2]string]bool)
	for schema, all := range map[string]attributes{
		userSchema:  append(userAttributes(target.User{}), splitAttributes("")...),
		groupSchema: departmentAttributes(target.Department{}),
	} {
		for _, one := range all {
			m.taken[[2]string{schema, one.path}] = m.takes(schema, one.path)
		}
	}
}

// readOptional reads what a server may do without. Only a server that cannot
// be reached, or does not let us in, is a failure.
func (c *Connector) readOptional(ctx context.Context, op, path string, into any) error {
	err := c.http.do(ctx, call{op: op, method: http.MethodGet, path: path, into: into})
	status := statusOf(err)
	if status == http.StatusUnauthorized || status == http.StatusTooManyRequests || err != nil && status == 0 {
		return err
	}
	return nil
}

func (m *model) note(types resourceTypes) {
	users, groups := false, false
	extensions := make(map[string]bool)
	for _, one := range types.Resources {
		switch strings.Trim(strings.ToLower(one.Endpoint), "/") {
		case "users":
			users = true
			for _, extension := range one.SchemaExtensions {
				extensions[strings.ToLower(extension.Schema)] = true
			}
		case "groups":
			groups = true
		}
	}
	if users { // a list without users is no list to believe
		m.groups, m.extensions = &groups, extensions
	}
}

func (m *model) noteSchemas(all schemas) {
	m.attributes, m.readOnly = make(map[string]map[string]bool), make(map[string]bool)
	for _, one := range all.Resources {
		if len(one.Attributes) == 0 {
			continue
		}
		paths := make(map[string]bool)
		for _, attribute := range one.Attributes {
			name := strings.ToLower(attribute.Name)
			paths[name] = true
			for _, inside := range attribute.SubAttributes {
				paths[name+"."+strings.ToLower(inside.Name)] = true
			}
			if strings.EqualFold(attribute.Mutability, "readOnly") && strings.EqualFold(one.ID, userSchema) {
				m.readOnly[name] = true
			}
		}
		m.attributes[strings.ToLower(one.ID)] = paths
	}
}

// takes reports whether the server may have an attribute of a schema. What it
// does not tell of, it may.
func (m *model) takes(schema, path string) bool {
	path = strings.ToLower(path)
	if i := strings.LastIndexByte(path, ':'); i > 0 {
		extension := path[:i]
		if m.extensions != nil && !m.extensions[extension] {
			return false
		}
		schema, path = extension, path[i+1:]
	}
	switch path {
	case "username", "externalid", "displayname", "active":
		return true // without them it is not what we are for
	}
	known, ok := m.attributes[strings.ToLower(schema)]
	return !ok || known[path]
}

// taken leaves out what the server says that it does not have: many refuse the
// whole object for one attribute that they do not know.
func (c *Connector) taken(schema string, all attributes) attributes {
	m := c.service.model.Load()
	if m == nil {
		return all
	}
	kept := make(attributes, 0, len(all))
	for _, one := range all {
		taken, judged := m.taken[[2]string{schema, one.path}]
		if taken || !judged && m.takes(schema, one.path) {
			kept = append(kept, one)
		}
	}
	return kept
}

// groupless reports whether the server has no Groups: departments are then
// known by the accounts' attributes alone.
func (c *Connector) groupless() bool {
	switch c.config.Protocol.Groups {
	case UseOff:
		return true
	case UseOn:
		return false
	default:
		m := c.service.model.Load()
		return m != nil && m.groups != nil && !*m.groups
	}
}

// Describe implements target.Connector: it reads what the server says of
// itself, and looks for an account that is not there, because many servers show
// that to anybody.
func (c *Connector) Describe(ctx context.Context) (target.Capabilities, error) {
	if err := c.readProvider(ctx); err != nil {
		return target.Capabilities{}, asDown(err)
	}
	if c.service.model.Load() == nil {
		m, err := c.readModel(ctx)
		if err != nil {
			return target.Capabilities{}, asDown(err)
		}
		c.service.model.Store(m)
	}
	query := url.Values{"filter": {`userName eq "orgsync-probe"`}, "count": {"1"}}
	err := c.http.do(ctx, call{op: "find a user", method: http.MethodGet, path: "/Users?" + query.Encode()})
	if status := statusOf(err); err != nil && status != http.StatusBadRequest && status != http.StatusNotImplemented {
		return target.Capabilities{}, asDown(err)
	}
	capabilities := target.Capabilities{Gathers: c.bulk().operations}
	if c.groupless() {
		capabilities.NoDepartments = true
		return capabilities, nil
	}
	capabilities.ParentByMembership = c.config.Parents == ParentsNested
	capabilities.Memberships, capabilities.MembersPerChange = true, c.config.MembersPerChange
	return capabilities, nil
}

// readProvider reads ServiceProviderConfig, and forgets what answers had shown:
// the server may have been mended.
func (c *Connector) readProvider(ctx context.Context) error {
	var p provider
	err := c.http.do(ctx, call{op: "read ServiceProviderConfig", method: http.MethodGet, path: "/ServiceProviderConfig", into: &p})
	switch {
	case err == nil:
		c.service.provider.Store(&p)
		c.service.usersPut.Store(!p.Patch.Supported)
		c.service.groupsPut.Store(!p.Patch.Supported)
	case target.ClassOf(err) == target.Gone: // a server may do without it
		c.service.provider.Store(nil)
		c.service.usersPut.Store(false)
		c.service.groupsPut.Store(false)
	default:
		return err
	}
	c.service.noExternalID.Store(false)
	c.http.gather.bound(c.bulk())
	c.service.membersHidden.Store(false)
	return nil
}
