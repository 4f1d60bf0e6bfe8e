package scim

import (
	"errors"
	"fmt"
	"time"

	"github.com/openkoo/connector/target/httpclient"
)

// Parents says how the tree is kept at the target.
type Parents string

// The ways to keep the tree.
const (
	ParentsNested Parents = "nested" // a child's group is a member of its parent's
	ParentsOff    Parents = "off"    // not at all: groups only
)

const (
	defaultTimeout = 30 * time.Second
	defaultMembers = 100
)

// Config says how to reach a SCIM server.
type Config struct {
	URL string // base of the protocol, e.g. https://idp.example.com/scim/v2
	// BearerToken, or UserName and Password, authenticate; none for an open server.
	BearerToken        string
	UserName, Password string
	Protocol           Protocol
	Parents            Parents       // default the profile's
	Timeout            time.Duration // of one request, default 30 s
	CAFile             string        // PEM of further authorities to trust
	// MembersPerChange bounds a change of a group, default 100.
	MembersPerChange int
	// ShortRetries within one attempt, default 2, less than 0 for none.
	ShortRetries int
	// ListPage is how many objects a page of a list asks for, default 500 accounts
	// or 100 groups, which come with their members.
	ListPage  int
	Plaintext bool // let http:// go to other machines
	// DenyPrivate refuses private and loopback addresses. Identity providers
	// inside a company's network are usual, so they are allowed otherwise.
	DenyPrivate bool
}

// Validate reports everything that is wrong at once.
func (c Config) Validate() error {
	var errs []error
	if err := httpclient.CheckURL(c.URL, c.Plaintext); err != nil {
		errs = append(errs, err)
	}
	if err := oneOf("parents", c.Parents, ParentsNested, ParentsOff); err != nil {
		errs = append(errs, err)
	}
	if c.BearerToken != "" && c.UserName != "" {
		errs = append(errs, errors.New("auth: both a bearer token and a user name; want one"))
	}
	if c.Timeout < 0 {
		errs = append(errs, errors.New("timeout: less than zero"))
	}
	if c.MembersPerChange < 0 {
		errs = append(errs, errors.New("membersPerChange: less than zero"))
	}
	if most := c.Protocol.Profile.of().maxMembers; most > 0 && c.MembersPerChange > most {
		errs = append(errs, fmt.Errorf("membersPerChange: %d: %s takes %d at most", c.MembersPerChange, c.Protocol.Profile, most))
	}
	if c.Protocol.Groups == UseOff && c.Parents == ParentsNested {
		errs = append(errs, errors.New("parents: nested, and groups is off; want parents: off"))
	}
	return errors.Join(append(errs, c.Protocol.validate()...)...)
}

func (c Config) withDefaults() Config {
	chosen := c.Protocol.Profile.of()
	c.Protocol = c.Protocol.with(chosen.Protocol)
	fill(&c.Parents, chosen.parents)
	if c.Timeout == 0 {
		c.Timeout = defaultTimeout
	}
	if c.MembersPerChange == 0 {
		c.MembersPerChange = defaultMembers
	}
	return c
}
