package directory_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/openkoo/connector/directory"
	"github.com/openkoo/connector/directory/directorytest"
)

// ann is a push about one account, for one application.
func ann(at directory.SourceTime, flag directory.Flag, app string, change ...func(*directory.UserItem)) *directory.Push {
	item := directory.UserItem{UserName: "ann"}
	if flag == directory.FlagAdd || flag == directory.FlagModify {
		item = directory.UserItem{
			UserName: "ann", Name: "Ann", OrgCode: "a", Role: "user", Enabled: true, Position: "lead", EmployeeCode: "7",
			EmployeeType: 1, Mobile: "13800000000", Email: "ann@example.com", WorkPlace: "Dongguan", EntryDate: "2020-1-2",
		}
		for _, do := range change {
			do(&item)
		}
	}
	return push(at, flag, &directory.AuthPush{AppID: app, Users: []directory.UserItem{item}})
}

const (
	del    = directory.FlagDelete
	add    = directory.FlagAdd
	modify = directory.FlagModify
	cancel = directory.FlagCancel
)

// account is an account in one line: how it stands, and its grants; "-crm" is
// one that was withdrawn.
func accountLine(s directorytest.Snapshot) string {
	u, known := s.Users["ann"]
	words := []string{"lives"}
	switch {
	case !known:
		return "unknown"
	case u.Deleted:
		words[0] = "gone"
	case !u.Active():
		words[0] = "idle"
	}
	for _, app := range slices.Sorted(maps.Keys(u.Grants)) {
		grant := u.Grants[app]
		if grant.Revoked {
			app = "-" + app
		}
		words = append(words, fmt.Sprintf("%s@%d", app, grant.SourceTime))
	}
	return strings.Join(words, " ")
}

func TestAccounts(t *testing.T) {
	t.Parallel()
	renamed := func(u *directory.UserItem) { u.Name = "Anna" }
	moved := func(u *directory.UserItem) { u.OrgCode = "b" }
	for name, test := range map[string]struct {
		before pushes
		push   *directory.Push
		line   string
		told   string
		result directory.Result
	}{
		"add creates and grants":                {nil, ann(1, add, "crm"), "lives crm@1", "create ann", directory.ResultApplied},
		"modify of the unknown creates":         {nil, ann(1, modify, "crm"), "lives crm@1", "create ann", directory.ResultApplied},
		"add of the known updates":              {pushes{ann(1, add, "crm")}, ann(2, add, "crm", renamed), "lives crm@2", "update ann", directory.ResultApplied},
		"a repeat moves times on only":          {pushes{ann(1, add, "crm")}, ann(2, add, "crm"), "lives crm@2", "unchanged ann", directory.ResultUnchanged},
		"the same time again does nothing":      {pushes{ann(1, add, "crm")}, ann(1, add, "crm"), "lives crm@1", "unchanged ann", directory.ResultUnchanged},
		"another department":                    {pushes{ann(1, add, "crm")}, ann(2, modify, "crm", moved), "lives crm@2", "move ann (moved from a)", directory.ResultApplied},
		"another application is granted":        {pushes{ann(1, add, "crm")}, ann(2, add, "erp"), "lives crm@1 erp@2", "grant ann (application erp)", directory.ResultApplied},
		"cancel withdraws one grant":            {pushes{ann(1, add, "crm"), ann(2, add, "erp")}, ann(3, cancel, "crm"), "lives -crm@3 erp@2", "revoke ann (application crm)", directory.ResultApplied},
		"cancel of the last leaves it idle":     {pushes{ann(1, add, "crm")}, ann(3, cancel, "crm"), "idle -crm@3", "revoke ann (application crm)", directory.ResultApplied},
		"cancel again":                          {pushes{ann(1, add, "crm"), ann(3, cancel, "crm")}, ann(4, cancel, "crm"), "idle -crm@4", "unchanged ann", directory.ResultUnchanged},
		"cancel of what was never granted":      {pushes{ann(1, add, "crm")}, ann(3, cancel, "erp"), "lives crm@1 -erp@3", "unchanged ann", directory.ResultUnchanged},
		"cancel of nobody":                      {nil, ann(3, cancel, "crm"), "gone -crm@3", "unchanged ann", directory.ResultUnchanged},
		"a cancel that is late":                 {pushes{ann(9, add, "crm")}, ann(3, cancel, "crm"), "lives crm@9", "stale ann (" + gone + ")", directory.ResultStale},
		"older than the account, not the grant": {pushes{ann(2, add, "crm"), ann(9, add, "erp")}, ann(3, cancel, "crm"), "lives -crm@3 erp@9", "revoke ann (application crm)", directory.ResultApplied},
		"granted again":                         {pushes{ann(1, add, "crm"), ann(3, cancel, "crm")}, ann(4, add, "crm"), "lives crm@4", "grant ann (application crm)", directory.ResultApplied},
		"a late add does not grant again":       {pushes{ann(1, add, "crm"), ann(9, cancel, "crm")}, ann(4, add, "crm"), "idle -crm@9", "unchanged ann", directory.ResultUnchanged},
		"nor does one before it was known":      {pushes{ann(9, cancel, "crm")}, ann(4, add, "crm"), "idle -crm@9", "create ann", directory.ResultApplied},
		"delete ends account and grants":        {pushes{ann(1, add, "crm"), ann(2, add, "erp")}, ann(3, del, "crm"), "gone", "delete ann", directory.ResultApplied},
		"delete again":                          {pushes{ann(1, add, "crm"), ann(3, del, "crm")}, ann(4, del, "crm"), "gone", "unchanged ann (is deleted already)", directory.ResultUnchanged},
		"delete of nobody":                      {nil, ann(3, del, "crm"), "gone", "unchanged ann (was never known)", directory.ResultUnchanged},
		"a late add cannot bring it back":       {pushes{ann(1, add, "crm"), ann(9, del, "crm")}, ann(4, add, "crm"), "gone", "stale ann (" + gone + ")", directory.ResultStale},
		"nor for another application":           {pushes{ann(1, add, "crm"), ann(9, del, "crm")}, ann(4, add, "erp"), "gone", "stale ann (" + gone + ")", directory.ResultStale},
		"nor create what was never known":       {pushes{ann(9, del, "crm")}, ann(4, add, "erp"), "gone", "stale ann (" + gone + ")", directory.ResultStale},
		"a later add does, with its grant only": {pushes{ann(1, add, "crm"), ann(3, del, "crm")}, ann(4, add, "erp"), "lives erp@4", "restore ann (was deleted)", directory.ResultApplied},
		"and grants of before stay ended":       {pushes{ann(3, del, "crm"), ann(4, add, "erp")}, ann(2, add, "crm"), "lives erp@4", "stale ann (" + gone4 + ")", directory.ResultStale},
		"a late delete ends the grants before":  {pushes{ann(1, add, "crm"), ann(9, add, "erp")}, ann(5, del, "crm"), "lives erp@9", "revoke ann (all applications granted before)", directory.ResultApplied},
		"a late delete before all":              {pushes{ann(9, add, "erp")}, ann(5, del, "crm"), "lives erp@9", "stale ann (" + gone + ")", directory.ResultStale},
		"a late add grants another application": {pushes{ann(9, add, "erp")}, ann(5, add, "crm"), "lives crm@5 erp@9", "grant ann (application crm)", directory.ResultApplied},
		"and does not change the account":       {pushes{ann(9, add, "erp")}, ann(5, add, "erp", renamed), "lives erp@9", "stale ann (" + gone + ")", directory.ResultStale},
		"disabled is not active":                {pushes{ann(1, add, "crm")}, ann(2, modify, "crm", func(u *directory.UserItem) { u.Enabled = false }), "idle crm@2", "update ann", directory.ResultApplied},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(unguarded, nil)
			for _, push := range test.before {
				_, err := w.receive(push)
				require.NoError(t, err)
			}
			plan, err := w.receive(test.push)
			require.NoError(t, err)
			after := w.Snapshot()
			require.Equal(t, test.line, accountLine(after))
			require.Equal(t, test.told, told(plan))
			require.Equal(t, test.result, plan.Result)
			w.requireTruth(t, w.accepted)
		})
	}
}

const gone4 = "stored since 19700101080000004, which is newer"

// The account's own time moves on though its grant is newer: the same push from
// in between is stale then.
func TestARepeatMovesTheAccountsTimeOnThoughTheGrantIsNewer(t *testing.T) {
	t.Parallel()
	w := newWorld(unguarded, nil)
	for _, push := range []*directory.Push{ann(1, add, "crm"), ann(9, cancel, "crm"), ann(5, add, "crm")} {
		_, err := w.receive(push)
		require.NoError(t, err)
	}
	require.EqualValues(t, 5, w.Snapshot().Users["ann"].SourceTime)
	plan, err := w.receive(ann(3, modify, "crm", func(u *directory.UserItem) { u.Name = "between" }))
	require.NoError(t, err)
	require.Equal(t, directory.ResultStale, plan.Result)
}

// Every member of the account counts as a change, and each is kept.
func TestEveryMemberOfAnAccountIsCompared(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*directory.UserItem){
		"name": func(u *directory.UserItem) { u.Name = "x" }, "orgCode": func(u *directory.UserItem) { u.OrgCode = "x" },
		"role": func(u *directory.UserItem) { u.Role = "admin" }, "enable": func(u *directory.UserItem) { u.Enabled = false },
		"position": func(u *directory.UserItem) { u.Position = "" }, "employeeCode": func(u *directory.UserItem) { u.EmployeeCode = "8" },
		"employeeType": func(u *directory.UserItem) { u.EmployeeType = 0 }, "mobile": func(u *directory.UserItem) { u.Mobile = "" },
		"email": func(u *directory.UserItem) { u.Email = "x" }, "workPlace": func(u *directory.UserItem) { u.WorkPlace = "x" },
		"entryDate": func(u *directory.UserItem) { u.EntryDate = "x" },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(unguarded, nil)
			_, err := w.receive(ann(1, add, "crm"))
			require.NoError(t, err)
			plan, err := w.receive(ann(2, modify, "crm", change))
			require.NoError(t, err)
			require.Equal(t, directory.ResultApplied, plan.Result)
			require.EqualValues(t, 2, plan.Users[0].Version)
			w.requireTruth(t, w.accepted)
		})
	}
}

// A deleted account keeps nothing personal.
func TestADeletedAccountKeepsNoPersonalData(t *testing.T) {
	t.Parallel()
	w := newWorld(unguarded, nil)
	for _, push := range []*directory.Push{ann(1, add, "crm"), ann(2, del, "crm")} {
		_, err := w.receive(push)
		require.NoError(t, err)
	}
	require.Equal(t, directory.User{
		UserName: "ann", Grants: map[string]directory.Grant{}, DeletedAt: 2,
		Meta: directory.Meta{Version: 2, SourceTime: 2, Deleted: true},
	}, w.Snapshot().Users["ann"])
}

func TestUserListsThatContradictThemselves(t *testing.T) {
	t.Parallel()
	list := func(n int) []directory.UserItem {
		items := make([]directory.UserItem, n)
		for i := range items {
			items[i].UserName = fmt.Sprintf("user%d", i)
		}
		return items
	}
	require.NoError(t, directory.CheckUsers(nil))
	require.NoError(t, directory.CheckUsers(list(directory.MaxUsers)))
	require.EqualError(t, directory.CheckUsers(list(directory.MaxUsers+1)), "userList: 501 users: more than 500")
	require.EqualError(t, directory.CheckUsers(append(list(3), list(2)...)), "userList[3].userName: appears twice")
}

// A list is planned by name, whatever its order, and each user on their own.
func TestAListOfUsers(t *testing.T) {
	t.Parallel()
	w := newWorld(unguarded, nil)
	list := func(at directory.SourceTime, flag directory.Flag, names ...string) *directory.Push {
		payload := &directory.AuthPush{AppID: "crm"}
		for _, name := range names {
			payload.Users = append(payload.Users, directory.UserItem{UserName: name, Name: name, Enabled: true})
		}
		return push(at, flag, payload)
	}
	_, err := w.receive(list(5, add, "bob"))
	require.NoError(t, err)
	plan, err := w.receive(list(3, add, "eve", "bob", "ann"))
	require.NoError(t, err)
	require.Equal(t, "create ann; stale bob (stored since 19700101080000005, which is newer); create eve", told(plan))
	require.Equal(t, directory.ResultApplied, plan.Result, "one applied is applied")
	plan, err = w.receive(list(9, del, "eve", "nobody"))
	require.NoError(t, err)
	require.Equal(t, "delete eve; unchanged nobody (was never known)", told(plan))
	require.Equal(t, 2, w.Snapshot().State.Users)
	plan, err = w.receive(list(10, add))
	require.NoError(t, err)
	require.Equal(t, directory.ResultUnchanged, plan.Result, "an empty list is no error")
}
