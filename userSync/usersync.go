// Package usersync plans what an account list makes of accounts, their grants
// aside (spec/marketplace.md §3.3).
package usersync

import "github.com/openkoo/connector/directory"

// Planner plans accounts.
type Planner struct{}

// Check refuses a list that is too long or names somebody twice.
func (Planner) Check(users []directory.UserItem) error { return directory.CheckUsers(users) }

// Account is what becomes of one account. See directory.Account.
func (Planner) Account(push *directory.Push, item *directory.UserItem, stored directory.User) (directory.User, directory.Action, string) {
	return directory.Account(push, item, stored)
}
