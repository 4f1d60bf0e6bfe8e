package directory

// Test data that nobody has changed for long expires: it becomes tombstones by
// the normal way, so that targets follow. Its own time stays, so that any later
// push about it counts.

func expired(m Meta) Meta {
	m.Deleted = true
	m.Version++
	return m
}

// ExpireTenant adds the tenant's tombstone to the plan.
func (p *Plan) ExpireTenant(t Tenant) { p.Tenant = &Tenant{Meta: expired(t.Meta)} }

// ExpireDepartment adds a living department's tombstone to the plan.
func (p *Plan) ExpireDepartment(d Department) {
	p.Delta.ParentMissing -= count(d.ParentMissing)
	p.Delta.Departments--
	d.ParentMissing, d.Meta = false, expired(d.Meta)
	p.Departments = append(p.Departments, d)
}

// ExpireUser adds a living user's tombstone to the plan. It keeps no personal
// data, and its grants are withdrawn: coming back, it is to be granted anew.
func (p *Plan) ExpireUser(u User) {
	grants := make(map[string]Grant, len(u.Grants))
	for appID, grant := range u.Grants {
		grant.Revoked = true
		grants[appID] = grant
	}
	p.Users = append(p.Users, User{UserName: u.UserName, Grants: grants, DeletedAt: u.DeletedAt, Meta: expired(u.Meta)})
	p.Delta.Users--
}

// ExpireApplication adds a living application's tombstone to the plan. It keeps
// no secret.
func (p *Plan) ExpireApplication(a Application) {
	p.Applications = append(p.Applications, Application{AppID: a.AppID, Meta: expired(a.Meta)})
	p.Delta.Applications--
}
