package usersync_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/openkoo/connector/directory"
	usersync "github.com/openkoo/connector/userSync"
)

func TestCheck(t *testing.T) {
	t.Parallel()
	var planner usersync.Planner
	require.NoError(t, planner.Check(make([]directory.UserItem, 1)))
	require.EqualError(t, planner.Check(make([]directory.UserItem, 2)), "userList[1].userName: appears twice")
	require.EqualError(t, planner.Check(make([]directory.UserItem, directory.MaxUsers+1)), "userList: 501 users: more than 500")
}

// Flags 1 and 2 both put the account, 0 deletes it, 3 leaves it as it is
// (spec/marketplace.md §3.3).
func TestFlags(t *testing.T) {
	t.Parallel()
	stored := directory.User{UserName: "ann", Name: "Ann", Meta: directory.Meta{Version: 1, SourceTime: 1}}
	item := directory.UserItem{UserName: "ann", Name: "Anna"}
	for flag, want := range map[directory.Flag]struct {
		action directory.Action
		name   string
	}{
		directory.FlagDelete: {directory.ActionDelete, ""},
		directory.FlagAdd:    {directory.ActionUpdate, "Anna"},
		directory.FlagModify: {directory.ActionUpdate, "Anna"},
		directory.FlagCancel: {directory.ActionUnchanged, "Ann"},
	} {
		account, action, _ := usersync.Planner{}.Account(&directory.Push{Flag: flag, SourceTime: 2}, &item, stored)
		require.Equal(t, want.action, action, flag)
		require.Equal(t, want.name, account.Name)
		require.Equal(t, flag == directory.FlagDelete, account.Deleted)
	}
}
