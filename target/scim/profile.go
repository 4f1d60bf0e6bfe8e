package scim

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Profile names a family of servers by whose client they were built for.
type Profile string

// The profiles. docs/targets/scim.md tells them apart.
const (
	Generic Profile = "generic" // what RFC 7644 says, and what the server says of itself
	Entra   Profile = "entra"   // built for Microsoft Entra's provisioning client
	Okta    Profile = "okta"    // built for Okta's provisioning client
	AWS     Profile = "aws"     // IAM Identity Center
)

// Method says how objects are changed.
type Method string

// The methods. Put reads an object, changes it, and writes it back.
const (
	MethodAuto  Method = "auto" // Patch where the server has it, else Put
	MethodPatch Method = "patch"
	MethodPut   Method = "put"
)

// Lookup says what an object whose id is not known is asked for by.
type Lookup string

// The ways to ask. A server that refuses the first is asked the second way.
const (
	LookupExternalID Lookup = "externalId"
	LookupName       Lookup = "name" // userName or displayName, then one by one
)

// Removal says how a member is named that leaves a group.
type Removal string

// The ways to name it. Servers that do not know the second remove every
// member, so it is never guessed.
const (
	RemovalFilter Removal = "filter" // members[value eq "…"], as RFC 7644 §3.5.2.2 has it
	RemovalValue  Removal = "value"  // members, and a list as the value
)

// Use says whether a part of the protocol is used.
type Use string

// The uses.
const (
	UseAuto Use = "auto" // as the server says
	UseOn   Use = "on"
	UseOff  Use = "off"
)

// Names says which parts of a name are sent.
type Names string

// The parts.
const (
	NamesFormatted Names = "formatted" // name.formatted alone
	NamesSplit     Names = "split"     // givenName and familyName too
)

// Protocol says how to speak to a server. An empty member takes the profile's
// word for it.
type Protocol struct {
	Profile      Profile // default Generic
	UserChanges  Method
	GroupChanges Method
	Lookup       Lookup
	Removal      Removal
	Groups       Use // UseOff for a server without Groups
	Bulk         Use // UseAuto or UseOff
	Names        Names
	// Discovery UseOff believes neither ResourceTypes nor Schemas.
	Discovery Use
}

// preset is what a profile stands for.
type preset struct {
	Protocol
	parents    Parents
	maxMembers int // the most one change may have, 0 for no limit
}

var presets = map[Profile]preset{
	Generic: {Protocol{
		UserChanges: MethodAuto, GroupChanges: MethodAuto, Lookup: LookupExternalID, Removal: RemovalFilter, Groups: UseAuto, Bulk: UseAuto, Names: NamesFormatted, Discovery: UseAuto,
	}, ParentsNested, 0},
	Entra: {Protocol{
		UserChanges: MethodPatch, GroupChanges: MethodPatch, Lookup: LookupExternalID, Removal: RemovalValue, Groups: UseAuto, Bulk: UseOff, Names: NamesSplit, Discovery: UseAuto,
	}, ParentsOff, 0},
	Okta: {Protocol{
		UserChanges: MethodPut, GroupChanges: MethodPatch, Lookup: LookupName, Removal: RemovalFilter, Groups: UseAuto, Bulk: UseOff, Names: NamesSplit, Discovery: UseAuto,
	}, ParentsOff, 0},
	AWS: {Protocol{
		UserChanges: MethodPatch, GroupChanges: MethodPatch, Lookup: LookupExternalID, Removal: RemovalValue, Groups: UseOn, Bulk: UseOff, Names: NamesSplit, Discovery: UseOff,
	}, ParentsOff, 100},
}

// of is the preset of a profile that Validate has let pass.
func (p Profile) of() preset {
	if p == "" {
		p = Generic
	}
	return presets[p]
}

// with fills what is empty from a preset.
func (p Protocol) with(preset Protocol) Protocol {
	fill(&p.UserChanges, preset.UserChanges)
	fill(&p.GroupChanges, preset.GroupChanges)
	fill(&p.Lookup, preset.Lookup)
	fill(&p.Removal, preset.Removal)
	fill(&p.Groups, preset.Groups)
	fill(&p.Bulk, preset.Bulk)
	fill(&p.Names, preset.Names)
	fill(&p.Discovery, preset.Discovery)
	return p
}

func fill[T ~string](value *T, fallback T) {
	if *value == "" {
		*value = fallback
	}
}

// validate reports everything that is wrong.
func (p Protocol) validate() []error {
	return slices.DeleteFunc([]error{
		oneOf("profile", p.Profile, slices.Sorted(maps.Keys(presets))...),
		oneOf("userChanges", p.UserChanges, MethodAuto, MethodPatch, MethodPut),
		oneOf("groupChanges", p.GroupChanges, MethodAuto, MethodPatch, MethodPut),
		oneOf("lookup", p.Lookup, LookupExternalID, LookupName),
		oneOf("memberRemoval", p.Removal, RemovalFilter, RemovalValue),
		oneOf("groups", p.Groups, UseAuto, UseOn, UseOff),
		oneOf("bulk", p.Bulk, UseAuto, UseOff),
		oneOf("names", p.Names, NamesFormatted, NamesSplit),
		oneOf("discovery", p.Discovery, UseAuto, UseOff),
	}, func(err error) bool { return err == nil })
}

// oneOf refuses a word that is neither empty nor among those that are known.
func oneOf[T ~string](name string, value T, known ...T) error {
	if value == "" || slices.Contains(known, value) {
		return nil
	}
	words := make([]string, len(known))
	for i, word := range known {
		words[i] = string(word)
	}
	return fmt.Errorf("%s: %q: want %s", name, string(value), strings.Join(words, ", "))
}
