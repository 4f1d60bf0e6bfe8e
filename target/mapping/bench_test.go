package mapping_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/openkoo/connector/directory"
	"github.com/openkoo/connector/target"
	"github.com/openkoo/connector/target/mapping"
)

// benchRules are a mapping of usual size, with all sorts of expression.
var benchRules = map[string]string{
	"userName":    `user.userName + "@" + tenant.domainName`,
	"displayName": `user.name + " (" + department.name + ")"`,
	"mail":        `user.email`,
	"x-apps":      `user.applications`,
	"x-admin":     `user.role == "admin"`,
	"x-phone":     `user.mobile != "" ? user.mobile : "none"`,
}

// byHand does what benchRules do.
func byHand(into *target.User, u *directory.User, tenant *directory.Tenant, department *directory.Department) {
	apps := make([]any, 0, len(u.Grants))
	for app, grant := range u.Grants {
		if !grant.Revoked {
			apps = append(apps, app)
		}
	}
	phone := u.Mobile
	if phone == "" {
		phone = "none"
	}
	into.UserName = u.UserName + "@" + tenant.DomainName
	into.Mapped = []target.Mapped{
		{Name: "displayName", Value: u.Name + " (" + department.Name + ")"}, {Name: "mail", Value: u.Email},
		{Name: "x-admin", Value: u.Role == "admin"}, {Name: "x-apps", Value: apps}, {Name: "x-phone", Value: phone},
	}
}

// BenchmarkMapUser maps accounts by six expressions. xhand is how many times as
// long that takes as the same written by hand; a delivery takes a thousand
// times as long as either.
func BenchmarkMapUser(b *testing.B) {
	const users = 100_000
	m, err := mapping.Compile(schema, mapping.Rules{User: benchRules})
	require.NoError(b, err)
	u := zhang()
	u.Grants = map[string]directory.Grant{"app-1": {}}
	tenant := &directory.Tenant{Code: "acme", Name: "ACME", DomainName: "acme.example.com"}
	department := &directory.Department{Code: "1001", Name: "研发部"}
	var mapped, hand target.User
	for b.Loop() {
		began := time.Now()
		for range users {
			byHand(&hand, u, tenant, department)
		}
		floor := time.Since(began)
		began = time.Now()
		for range users {
			mapped = target.User{UserName: "zhang@acme", Active: true}
			if err := m.MapUser(&mapped, scope, u, tenant, department); err != nil {
				b.Fatal(err)
			}
		}
		took := time.Since(began)
		b.ReportMetric(float64(took.Nanoseconds())/users, "ns/user")
		b.ReportMetric(float64(took)/float64(floor), "xhand")
	}
	require.Equal(b, hand.UserName, mapped.UserName)
	require.Equal(b, hand.Mapped, mapped.Mapped)
}
