package main

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/openkoo/connector/directory"
	"github.com/openkoo/connector/marketplace"
	"github.com/openkoo/connector/marketplace/client"
	"github.com/openkoo/connector/secrets"
)

// call is one call to make, with the rows it carries.
type call struct {
	payload     directory.Payload
	what        string // the entity's key, or how many
	first, last place
}

// rows says where the call's rows stand.
func (c *call) rows() string {
	if c.first.line == c.last.line {
		return fmt.Sprintf("line %d", c.first.line)
	}
	return fmt.Sprintf("lines %d–%d", c.first.line, c.last.line)
}

// The columns of each file: the members of spec/marketplace.md §3. A delete
// needs only the members of its key.

func departmentColumns(flag directory.Flag) []column {
	full := flag != directory.FlagDelete
	return []column{
		{"orgCode", "unique within the tenant", true},
		{"orgName", "", full},
		{"parentCode", "empty for a top-level department", false},
	}
}

func userColumns(flag directory.Flag) []column {
	full := flag != directory.FlagDelete && flag != directory.FlagCancel
	return []column{
		{"userName", "unique within the tenant", true},
		{"name", "", full},
		{"orgCode", "the user's department", full},
		{"role", "user or admin", full},
		{"enable", "true or false", full},
		{"position", "", false},
		{"employeeCode", "", false},
		{"employeeType", "1 regular, 2 intern, 3 dispatched, 4 outsourced", false},
		{"mobile", "", false},
		{"email", "", false},
		{"workPlace", "", false},
		{"entryDate", "yyyy-MM-dd", false},
	}
}

func tenantColumns(flag directory.Flag) []column {
	full := flag != directory.FlagDelete
	return []column{
		{"orderId", "empty while credentials are created", false},
		{"tenantCode", "tenant domain, part of sign-in names", full},
		{"name", "", full},
		{"domainName", "domain of the identity provider", full},
	}
}

func applicationColumns(flag directory.Flag) []column {
	full := flag != directory.FlagDelete
	return []column{
		{"appId", "", true},
		{"clientId", "", full},
		{"clientSecret", "encrypted and Base64 coded; in clear with --public-key", full},
	}
}

// callMaker makes calls of rows. It gathers what is wrong with the rows.
type callMaker struct {
	file, app string
	scope     directory.Scope
	flag      directory.Flag
	publicKey []byte // PEM; nil: secrets are encrypted already
	empty     bool   // a department list may be empty
	errs      []error
}

func (m *callMaker) failf(r *row, name, format string, args ...any) {
	if len(m.errs) < maxFaults {
		m.errs = append(m.errs, fault(m.file, r.cells[name].at, "%s: %s", name, fmt.Sprintf(format, args...)))
	}
}

// check finds what the other side would refuse, row by row, by the rules of the
// protocol: a file is sent as a whole or not at all.
func (m *callMaker) check(kind pushKind, rows []row) {
	seen := make(map[string]place)
	for i := range rows {
		r := &rows[i]
		if key := r.cells[kind.unique]; kind.unique != "" {
			if first, twice := seen[key.text]; twice {
				m.failf(r, kind.unique, "%q stands in line %d already", key.text, first.line)
			} else {
				seen[key.text] = r.at
			}
		}
		for _, c := range kind.calls(&callMaker{file: m.file, app: m.app, flag: m.flag}, rows[i:i+1]) {
			body, err := client.Body(m.scope, m.flag, directory.SourceTimeOf(time.Now()), c.payload)
			if err == nil {
				_, err = marketplace.Decode(c.payload.PushKind(), body)
			}
			if err != nil {
				m.refused(r, err)
			}
		}
		if len(m.errs) >= maxFaults {
			return
		}
	}
}

// refused tells of a row that the protocol does not take, at the member that is
// at fault.
func (m *callMaker) refused(r *row, err error) {
	invalid, ok := errors.AsType[*directory.InvalidError](err)
	if !ok {
		m.errs = append(m.errs, fault(m.file, r.at, "%s", err))
		return
	}
	name := invalid.Member[strings.LastIndexByte(invalid.Member, '.')+1:]
	if _, given := r.cells[name]; !given {
		m.errs = append(m.errs, fault(m.file, r.at, "%s: %s", name, invalid.Reason))
		return
	}
	m.failf(r, name, "%s", invalid.Reason)
}

func department(r *row) directory.DepartmentItem {
	return directory.DepartmentItem{Code: r.text("orgCode"), Name: r.text("orgName"), ParentCode: r.text("parentCode")}
}

func (m *callMaker) full(rows []row) []call {
	if len(rows) == 0 && !m.empty {
		m.errs = append(m.errs, fmt.Errorf("%s: no rows: an empty list asks the other side to delete every department; if you mean that, add --allow-empty", m.file))
		return nil
	}
	full := &directory.FullPush{Departments: make([]directory.DepartmentItem, len(rows))}
	c := call{payload: full, what: fmt.Sprintf("%d departments", len(rows)), first: place{1, 1}, last: place{1, 1}}
	for i := range rows {
		full.Departments[i] = department(&rows[i])
		c.last = rows[i].at
	}
	return []call{c}
}

func (m *callMaker) departments(rows []row) []call {
	return each(rows, "orgCode", func(r *row) directory.Payload { return &directory.DepartmentPush{DepartmentItem: department(r)} })
}

func (m *callMaker) tenants(rows []row) []call {
	return each(rows, "tenantCode", func(r *row) directory.Payload {
		return &directory.TenantPush{OrderID: r.text("orderId"), Code: r.text("tenantCode"), Name: r.text("name"), DomainName: r.text("domainName")}
	})
}

func (m *callMaker) applications(rows []row) []call {
	return each(rows, "appId", func(r *row) directory.Payload {
		secret := r.text("clientSecret")
		if m.publicKey != nil && secret != "" {
			sealed, err := secrets.EncryptFor(m.publicKey, []byte(secret))
			if err != nil {
				m.errs = append(m.errs, fmt.Errorf("--public-key: %w", err))
			}
			secret = sealed
		}
		return &directory.ApplicationPush{AppID: r.text("appId"), ClientID: r.text("clientId"), ClientSecret: secret}
	})
}

// each makes a call of every row.
func each(rows []row, key string, payload func(*row) directory.Payload) []call {
	calls := make([]call, len(rows))
	for i := range rows {
		calls[i] = call{payload: payload(&rows[i]), what: key + " " + rows[i].text(key), first: rows[i].at, last: rows[i].at}
	}
	return calls
}

// users makes a call of each directory.MaxUsers rows.
func (m *callMaker) users(rows []row) []call {
	var calls []call
	for len(rows) > 0 {
		n := min(len(rows), directory.MaxUsers)
		batch := &directory.AuthPush{AppID: m.app, Users: make([]directory.UserItem, n)}
		for i := range rows[:n] {
			batch.Users[i] = m.user(&rows[i])
		}
		calls = append(calls, call{payload: batch, what: fmt.Sprintf("%d users", n), first: rows[0].at, last: rows[n-1].at})
		rows = rows[n:]
	}
	return calls
}

func (m *callMaker) user(r *row) directory.UserItem {
	enabled := false
	switch text := r.text("enable"); strings.ToLower(text) { // spreadsheets write TRUE
	case "true":
		enabled = true
	case "false":
	case "":
	default:
		m.failf(r, "enable", "%q: want true or false", text)
	}
	employeeType := 0
	if text := r.text("employeeType"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 || n > 4 {
			m.failf(r, "employeeType", "%q: want 1 regular, 2 intern, 3 dispatched or 4 outsourced", text)
		}
		employeeType = n
	}
	return directory.UserItem{
		UserName: r.text("userName"), Name: r.text("name"), OrgCode: r.text("orgCode"), Role: r.text("role"), Enabled: enabled,
		Position: r.text("position"), EmployeeCode: r.text("employeeCode"), EmployeeType: employeeType,
		Mobile: r.text("mobile"), Email: r.text("email"), WorkPlace: r.text("workPlace"), EntryDate: r.text("entryDate"),
	}
}
