package client

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/openkoo/connector/directory"
)

// Generation is the version of the interfaces that a call is made of.
type Generation int

// The generations, both of which sellers run.
const (
	V1 Generation = 1
	V2 Generation = 2
)

// String is the generation as the guides write it, in lower case.
func (g Generation) String() string { return "v" + strconv.Itoa(int(g)) }

// Member is a member of a JSON object.
type Member struct {
	Name  string
	Value any
}

// Members are the members of a JSON object in the order in which they are
// sent. The marketplace's order is that of its guides, not the alphabet's: who
// verifies a signature has to sort.
type Members []Member

// With has a member set, in its place if it is there, or else at the end.
func (m Members) With(name string, value any) Members {
	m = slices.Clone(m)
	for i := range m {
		if m[i].Name == name {
			m[i].Value = value
			return m
		}
	}
	return append(m, Member{name, value})
}

// Without lacks a member.
func (m Members) Without(name string) Members {
	return slices.DeleteFunc(slices.Clone(m), func(member Member) bool { return member.Name == name })
}

// JSON is the object as it is sent: compact, and no character escaped that
// need not be.
func (m Members) JSON() ([]byte, error) {
	var b bytes.Buffer
	for i, member := range m {
		b.WriteByte("{,"[min(i, 1)])
		if err := encode(&b, member.Name); err != nil {
			return nil, err
		}
		b.WriteByte(':')
		if err := encode(&b, member.Value); err != nil {
			return nil, fmt.Errorf("encode %s: %w", member.Name, err)
		}
	}
	if len(m) == 0 {
		b.WriteByte('{')
	}
	b.WriteByte('}')
	return b.Bytes(), nil
}

// MarshalJSON implements json.Marshaler.
func (m Members) MarshalJSON() ([]byte, error) { return m.JSON() }

func encode(b *bytes.Buffer, value any) error {
	encoder := json.NewEncoder(b)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(value); err != nil {
		return err
	}
	b.Truncate(b.Len() - 1) // the encoder ends with a line feed
	return nil
}

// KitMembers are the members of a push (spec/marketplace.md §3). V1 has its
// lists in strings and some of a user's members in extension.
func KitMembers(generation Generation, scope directory.Scope, flag directory.Flag, at directory.SourceTime, payload directory.Payload) (Members, error) {
	test := 0
	if scope.Dataset == directory.Test {
		test = 1
	}
	m := Members{{"instanceId", scope.InstanceID}, {"tenantId", scope.TenantID}}
	switch p := payload.(type) {
	case *directory.TenantPush:
		m = append(m, Member{"orderId", p.OrderID}, Member{"tenantCode", p.Code}, Member{"name", p.Name}, Member{"domainName", p.DomainName})
	case *directory.ApplicationPush:
		m = append(m, Member{"appId", p.AppID}, Member{"clientId", p.ClientID}, Member{"clientSecret", p.ClientSecret})
	case *directory.DepartmentPush:
		m = append(m, Member{"orgCode", p.Code}, Member{"orgName", p.Name}, Member{"parentCode", p.ParentCode})
	case *directory.FullPush:
		name, list, err := departments(generation, p)
		if err != nil {
			return nil, err
		}
		m = append(m, Member{name, list})
	case *directory.AuthPush:
		list, err := users(generation, p)
		if err != nil {
			return nil, err
		}
		m = append(m, Member{"appId", p.AppID}, Member{"userList", list}, Member{"currentSyncTime", at.Wire()})
	default:
		return nil, fmt.Errorf("no body for %T", payload)
	}
	if payload.PushKind() != directory.AllOrgSync {
		m = append(m, Member{"flag", int(flag)})
	}
	return append(m, Member{"testFlag", test}, Member{"timeStamp", at.Wire()}), nil
}

// Body makes the JSON body of a V2 push.
func Body(scope directory.Scope, flag directory.Flag, at directory.SourceTime, payload directory.Payload) ([]byte, error) {
	m, err := KitMembers(V2, scope, flag, at, payload)
	if err != nil {
		return nil, err
	}
	return m.JSON()
}

// department and departmentV1 are members of the lists: structs, for a list
// may be long.
type department struct {
	Code       string `json:"orgCode"`
	Name       string `json:"orgName"`
	ParentCode string `json:"parentCode"`
}

type departmentV1 struct {
	Code       string `json:"orgCode"`
	Name       string `json:"name"`
	ParentCode string `json:"parentCode"`
}

func departments(generation Generation, push *directory.FullPush) (name string, list any, err error) {
	if generation == V1 {
		items := make([]departmentV1, len(push.Departments))
		for i, d := range push.Departments {
			items[i] = departmentV1(d)
		}
		list, err = asString(items)
		return "orgInfo", list, err
	}
	items := make([]department, len(push.Departments))
	for i, d := range push.Departments {
		items[i] = department(d)
	}
	return "orgInfoList", items, nil
}

func users(generation Generation, push *directory.AuthPush) (any, error) {
	items := make([]Members, len(push.Users))
	for i := range push.Users {
		items[i] = user(generation, &push.Users[i])
	}
	if generation == V1 {
		return asString(items)
	}
	return items, nil
}

// asString is a list as V1 sends it.
func asString(list any) (string, error) {
	var b strings.Builder
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(list); err != nil {
		return "", fmt.Errorf("encode list: %w", err)
	}
	return strings.TrimSuffix(b.String(), "\n"), nil
}

// user is a member of userList. What is empty and optional is not sent.
func user(generation Generation, u *directory.UserItem) Members {
	m := Members{
		{"userName", u.UserName}, {"name", u.Name}, {"orgCode", u.OrgCode}, {"role", u.Role}, {"enable", strconv.FormatBool(u.Enabled)},
	}
	m = addTexts(m, Members{{"position", u.Position}, {"employeeCode", u.EmployeeCode}, {"mobile", u.Mobile}, {"email", u.Email}})
	var more Members
	if u.EmployeeType != 0 {
		more = Members{{"employeeType", u.EmployeeType}}
	}
	more = addTexts(more, Members{{"workPlace", u.WorkPlace}, {"entryDate", u.EntryDate}})
	if generation == V1 && len(more) > 0 {
		return append(m, Member{"extension", more})
	}
	return append(m, more...)
}

// addTexts adds the members that are not empty.
func addTexts(to, members Members) Members {
	for _, member := range members {
		if member.Value != "" {
			to = append(to, member)
		}
	}
	return to
}
