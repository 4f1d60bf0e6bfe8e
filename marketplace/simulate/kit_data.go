package simulate

import (
	"fmt"
	"strings"

	"github.com/openkoo/connector/directory"
	"github.com/openkoo/connector/marketplace/client"
	"github.com/openkoo/connector/secrets"
)

// needsPublicKey is why a case is left out.
const needsPublicKey = "needs the seller's public key: --public-key"

func (s *scene) enterprise() *directory.TenantPush {
	return &directory.TenantPush{OrderID: s.scope.TenantID + "-o", Code: "simulated", Name: "模拟企业 & Söhne", DomainName: "simulated.example.com"}
}

// application is one whose secret is encrypted for the seller; nil without the
// seller's public key.
func (s *scene) application() *directory.ApplicationPush {
	if s.options.PublicKey == nil {
		return nil
	}
	sealed, err := secrets.EncryptFor(s.options.PublicKey, []byte("simulated-client-secret"))
	if err != nil {
		s.leaveOut("--public-key: " + err.Error())
		return nil
	}
	return &directory.ApplicationPush{AppID: appID, ClientID: "client-simulated", ClientSecret: sealed}
}

const appID = "app-simulated"

func department(code, name, parent string) *directory.DepartmentPush {
	return &directory.DepartmentPush{DepartmentItem: directory.DepartmentItem{Code: code, Name: name, ParentCode: parent}}
}

// fullList is a small company, its children before their parents as it may be,
// and one department whose parent is not in the list, as in the guide's example.
func fullList() *directory.FullPush {
	return &directory.FullPush{Departments: []directory.DepartmentItem{
		{Code: "10-1-1", Name: "平台组", ParentCode: "10-1"},
		{Code: "10-1", Name: "研发部", ParentCode: "10"},
		{Code: "10", Name: "总部"},
		{Code: "10-2", Name: "R&D <实验室>", ParentCode: "10"},
		{Code: "90", Name: "海外部", ParentCode: "265789314"},
	}}
}

// employee is the n-th user, with all members that there are.
func employee(n int) directory.UserItem {
	return directory.UserItem{
		UserName: fmt.Sprintf("sim%05d", n), Name: fmt.Sprintf("员工%d", n), OrgCode: "10", Role: "user", Enabled: true,
		Position: "工程师", EmployeeCode: fmt.Sprintf("E%05d", n), EmployeeType: 1 + n%4,
		Mobile: fmt.Sprintf("139%08d", n), Email: fmt.Sprintf("sim%05d@simulated.example.com", n), WorkPlace: "南京", EntryDate: "2024-1-5",
	}
}

func authorised(users ...directory.UserItem) *directory.AuthPush {
	return &directory.AuthPush{AppID: appID, Users: users}
}

// list is a list as the generation sends it: V1 has it in a string.
func (s *scene) list(items ...client.Members) any {
	if s.generation == client.V2 {
		return items
	}
	texts := make([]string, len(items))
	for i, item := range items {
		text, err := item.JSON()
		if err != nil {
			s.cannot("make a list", err)
		}
		texts[i] = string(text)
	}
	return "[" + strings.Join(texts, ",") + "]"
}

// bind does what comes before the calls that a case is about.
func (s *scene) bind() {
	s.scope.InstanceID = s.instance()
	s.bound = true // also where the answer gets lost
	s.push("before: the enterprise is bound", directory.FlagAdd, s.enterprise())
	if app := s.application(); app != nil {
		s.push("before: the application is synced", directory.FlagAdd, app)
	}
}

// staff binds an enterprise with a department.
func (s *scene) staff() {
	s.bind()
	s.push("before: a department is added", directory.FlagAdd, department("10", "总部", ""))
}

// instance is the instanceId of the kit's calls: the one that was given, or
// one that is bought for all cases, or one made up where that is not played.
func (s *scene) instance() string {
	if s.options.InstanceID != "" {
		return s.options.InstanceID
	}
	if id, there := s.instances[s.generation]; there {
		return id
	}
	id := s.id("i")
	if s.plays("base-" + s.generation.String()) {
		// What is wrong with the order is for the cases that are about it.
		buyer := s.Runner.scene(s.ctx, &Case{generation: s.generation})
		if ordered := buyer.buy("before: an instance is ordered", buyer.order()); ordered != "" {
			id = ordered
		}
		if s.stopped != "" && s.finding == nil {
			s.finding = buyer.finding // nobody else will come across it
		}
	}
	s.instances[s.generation] = id
	return id
}
