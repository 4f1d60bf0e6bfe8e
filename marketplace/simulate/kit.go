package simulate

import (
	"strings"

	"github.com/openkoo/connector/directory"
	"github.com/openkoo/connector/marketplace/client"
)

// kitCases are the calls of the five kit interfaces as the marketplace makes
// them, once and again (spec/marketplace.md §3).
func kitCases() chapter {
	return chapter{"kit-%s", []entry{
		{1, 0, "An enterprise is added", "§3.1", enterpriseAdded},
		{2, 0, "An enterprise is added again: a success, nothing new", "§3", enterpriseAddedAgain},
		{3, client.V2, "An enterprise is renamed", "§3.1", enterpriseRenamed},
		{4, 0, "An enterprise is deleted, twice", "§3", enterpriseDeleted},
		{5, 0, "An enterprise that never was is deleted: a success", "§3", strangerDeleted},
		{6, 0, "An application is added, its secret encrypted with the seller's public key", "§3.2", applicationAdded},
		{7, 0, "An application is added again", "§3", applicationAddedAgain},
		{8, 0, "An application is deleted, twice", "§3", applicationDeleted},
		{9, 0, "A user is authorised, with every member there is", "§3.3", userAdded},
		{10, 0, "A user is authorised, with the mandatory members alone", "§3.3", userWithLeast},
		{11, 0, "A user is authorised again", "§3", userAddedAgain},
		{12, 0, "A user is modified and disabled", "§3.3", userModified},
		{13, 0, "A user's authorisation is cancelled, twice", "§3.3", userCancelled},
		{14, 0, "A user is deleted, twice", "§3", userDeleted},
		{15, 0, "500 users in one call", "§3.3", manyUsers},
		{16, 0, "A department is added", "§3.4", departmentAdded},
		{17, 0, "A department is added again", "§3", departmentAddedAgain},
		{18, 0, "A department is renamed and moved", "§3.4", departmentMoved},
		{19, 0, "A department is deleted, twice", "§3", departmentDeleted},
		{20, 0, "A department that never was is deleted: a success", "§3", strangeDepartmentDeleted},
		{21, 0, "All departments, children before parents, one parent not in the list", "§3.5", allDepartments},
		{22, 0, "All departments again", "§3", allDepartmentsAgain},
		{23, client.V2, "All departments as in the guide's example: a string with unquoted names", "§3.5", allDepartmentsRelaxed},
		{24, 0, "testFlag and flag come as strings", "§3", integersAsStrings},
		{25, 0, "Members that nobody knows are ignored", "§3", unknownMembers},
		{26, 0, "An older push comes after a newer one: a success", "§3", olderPush},
		{27, 0, "An add that comes after the delete: a success", "§3", lateAdd},
		{28, 0, "A department comes before its parent", "§3.5", childFirst},
		{29, 0, "A user comes before the department", "§3.3", userFirst},
		{30, 0, "A department with children is deleted", "§3.4", parentDeleted},
		{31, 0, "The debugging calls are stored and replayed: all go on succeeding", "§0", replayedPushes},
		{32, 0, "A department has no parentCode, alone and in the list", "§3.4", parentless},
		{33, 0, "Users who lose the authorisation, and who are deleted, are named by userName alone", "§3.3", namedAlone},
		{34, client.V2, "An application is modified: flag 2", "§3.2", applicationModified},
		{35, 0, "instanceId and orderId are absent, as they may be while debugging", "§0", absentMembers},
	}}
}

func enterpriseAdded(s *scene) {
	s.scope.InstanceID = s.instance()
	s.bound = true
	s.push("the enterprise is added", directory.FlagAdd, s.enterprise())
}

func enterpriseAddedAgain(s *scene) {
	s.bind()
	s.push("the enterprise is added again", directory.FlagAdd, s.enterprise(), wants(NotIdempotent, codeSuccess))
}

func enterpriseRenamed(s *scene) {
	s.bind()
	renamed := s.enterprise()
	renamed.Name = "更名后的企业"
	s.push("the enterprise is renamed", directory.FlagModify, renamed)
}

func enterpriseDeleted(s *scene) {
	s.bind()
	s.push("the enterprise is deleted", directory.FlagDelete, s.enterprise())
	s.push("the enterprise is deleted again", directory.FlagDelete, s.enterprise(), wants(DeleteNotIdempotent, codeSuccess))
}

func strangerDeleted(s *scene) {
	s.scope.InstanceID = s.id("nobody")
	s.push("an enterprise is deleted that never was, of an instance that never was", directory.FlagDelete, s.enterprise(), wants(DeleteNotIdempotent, codeSuccess))
}

// withApplication plays a case that needs the seller's public key.
func (s *scene) withApplication(play func(*directory.ApplicationPush)) {
	app := s.application()
	if app == nil {
		s.leaveOut(needsPublicKey)
		return
	}
	s.scope.InstanceID = s.instance()
	s.bound = true
	s.push("before: the enterprise is bound", directory.FlagAdd, s.enterprise())
	play(app)
}

func applicationAdded(s *scene) {
	s.withApplication(func(app *directory.ApplicationPush) {
		s.push("the application is added", directory.FlagAdd, app)
	})
}

func applicationAddedAgain(s *scene) {
	s.withApplication(func(app *directory.ApplicationPush) {
		s.push("the application is added", directory.FlagAdd, app)
		again := s.application() // the same secret, encrypted anew
		s.push("the application is added again", directory.FlagAdd, again, wants(NotIdempotent, codeSuccess))
	})
}

func applicationDeleted(s *scene) {
	s.withApplication(func(app *directory.ApplicationPush) {
		s.push("the application is added", directory.FlagAdd, app)
		s.push("the application is deleted", directory.FlagDelete, app)
		s.push("the application is deleted again", directory.FlagDelete, app, wants(DeleteNotIdempotent, codeSuccess))
	})
}

func applicationModified(s *scene) {
	s.withApplication(func(app *directory.ApplicationPush) {
		s.push("the application is added", directory.FlagAdd, app)
		app.ClientID = "client-renewed"
		s.push("the application is modified", directory.FlagModify, app)
	})
}

func userAdded(s *scene) {
	s.staff()
	s.push("a user is authorised", directory.FlagAdd, authorised(employee(1)))
}

func userWithLeast(s *scene) {
	s.staff()
	s.push("a user is authorised", directory.FlagAdd, authorised(directory.UserItem{UserName: "sim-least", Name: "张三", OrgCode: "10", Role: "admin", Enabled: true}))
}

func userAddedAgain(s *scene) {
	s.staff()
	s.push("a user is authorised", directory.FlagAdd, authorised(employee(1)))
	s.push("the user is authorised again", directory.FlagAdd, authorised(employee(1)), wants(NotIdempotent, codeSuccess))
}

func userModified(s *scene) {
	s.staff()
	s.push("a user is authorised", directory.FlagAdd, authorised(employee(1)))
	changed := employee(1)
	changed.Name, changed.Role, changed.Enabled = "李四", "admin", false
	s.push("the user is modified", directory.FlagModify, authorised(changed))
}

func userCancelled(s *scene) {
	s.staff()
	s.push("a user is authorised", directory.FlagAdd, authorised(employee(1)))
	s.push("the authorisation is cancelled", directory.FlagCancel, authorised(employee(1)))
	s.push("the authorisation is cancelled again", directory.FlagCancel, authorised(employee(1)), wants(DeleteNotIdempotent, codeSuccess))
}

func namedAlone(s *scene) {
	s.staff()
	s.push("two users are authorised", directory.FlagAdd, authorised(employee(1), employee(2)))
	alone := func(u directory.UserItem) change {
		return set("userList", s.list(client.Members{{Name: "userName", Value: u.UserName}}))
	}
	s.push("the authorisation of one is cancelled", directory.FlagCancel, authorised(employee(1)), alone(employee(1)))
	s.push("the other is deleted", directory.FlagDelete, authorised(employee(2)), alone(employee(2)))
}

func userDeleted(s *scene) {
	s.staff()
	s.push("a user is authorised", directory.FlagAdd, authorised(employee(1)))
	s.push("the user is deleted", directory.FlagDelete, authorised(employee(1)))
	s.push("the user is deleted again", directory.FlagDelete, authorised(employee(1)), wants(DeleteNotIdempotent, codeSuccess))
}

func manyUsers(s *scene) {
	s.staff()
	users := make([]directory.UserItem, directory.MaxUsers)
	for i := range users {
		users[i] = employee(i)
	}
	s.push("500 users are authorised", directory.FlagAdd, authorised(users...))
	s.push("500 users are deleted", directory.FlagDelete, authorised(users...))
}

func departmentAdded(s *scene) {
	s.bind()
	s.push("a top-level department is added", directory.FlagAdd, department("10", "总部", ""))
	s.push("a department below it is added", directory.FlagAdd, department("10-1", "研发部", "10"))
}

func departmentAddedAgain(s *scene) {
	s.bind()
	s.push("a department is added", directory.FlagAdd, department("10", "总部", ""))
	s.push("the department is added again", directory.FlagAdd, department("10", "总部", ""), wants(NotIdempotent, codeSuccess))
}

func departmentMoved(s *scene) {
	s.staff()
	s.push("two departments are added", directory.FlagAdd, department("10-1", "研发部", "10"))
	s.push("two departments are added", directory.FlagAdd, department("10-2", "产品部", "10"))
	s.push("one is renamed", directory.FlagModify, department("10-2", "产品与设计部", "10"))
	s.push("it moves below the other", directory.FlagModify, department("10-2", "产品与设计部", "10-1"))
	s.push("it moves to the top", directory.FlagModify, department("10-2", "产品与设计部", ""))
}

func departmentDeleted(s *scene) {
	s.staff()
	s.push("a department is deleted", directory.FlagDelete, department("10", "总部", ""))
	s.push("the department is deleted again", directory.FlagDelete, department("10", "总部", ""), wants(DeleteNotIdempotent, codeSuccess))
}

func strangeDepartmentDeleted(s *scene) {
	s.bind()
	s.push("a department is deleted that never was", directory.FlagDelete, department("nobody", "无", ""), wants(DeleteNotIdempotent, codeSuccess))
}

func parentless(s *scene) {
	s.bind()
	s.push("a top-level department is added", directory.FlagAdd, department("10", "总部", ""), without("parentCode"))
	list, name := "orgInfoList", "orgName"
	if s.generation == client.V1 {
		list, name = "orgInfo", "name"
	}
	s.push("all departments", directory.FlagModify, fullList(),
		set(list, s.list(client.Members{{Name: "orgCode", Value: "10"}, {Name: name, Value: "总部"}})))
}

// absentMembers is how debugging calls come that the console made before there
// was an order.
func absentMembers(s *scene) {
	s.scope.InstanceID = ""
	s.bound = true
	absent := without("instanceId", "orderId")
	if s.options.Production { // there they are empty
		absent = func(*attempt) {}
	}
	s.push("the enterprise is added", directory.FlagAdd, s.enterprise(), absent)
	s.push("a department is added", directory.FlagAdd, department("10", "总部", ""), absent)
}

func allDepartments(s *scene) {
	s.bind()
	s.push("all departments", directory.FlagModify, fullList())
}

func allDepartmentsAgain(s *scene) {
	s.bind()
	s.push("all departments", directory.FlagModify, fullList())
	s.push("all departments again", directory.FlagModify, fullList(), wants(NotIdempotent, codeSuccess))
}

func allDepartmentsRelaxed(s *scene) {
	s.bind()
	s.push("all departments as a string", directory.FlagModify, fullList(),
		set("orgInfoList", `[{orgCode:"00000001", orgName:"产品部", parentCode:"265789314"},{orgCode:"00000002", OrgName:"测试部", parentCode:"00000001"}]`))
}

func integersAsStrings(s *scene) {
	s.bind()
	test := "0"
	if s.scope.Dataset == directory.Test {
		test = "1"
	}
	s.push("a department is added", directory.FlagAdd, department("10", "总部", ""), edited(func(m client.Members) client.Members {
		return m.With("testFlag", test).With("flag", "1")
	}))
}

func unknownMembers(s *scene) {
	s.bind()
	s.push("a department is added", directory.FlagAdd, department("10", "总部", ""), edited(func(m client.Members) client.Members {
		return m.With("aNewMember", "of tomorrow").With("anotherOne", 7)
	}))
}

func olderPush(s *scene) {
	s.bind()
	before := s.tick()
	s.push("a department is added", directory.FlagAdd, department("10", "总部", ""))
	s.push("an older name of it comes late", directory.FlagModify, department("10", "旧名", ""), dated(before), wants(NotIdempotent, codeSuccess))
}

func lateAdd(s *scene) {
	s.bind()
	before := s.tick()
	s.push("a department is deleted", directory.FlagDelete, department("10", "总部", ""))
	s.push("it is added, by a push that is older", directory.FlagAdd, department("10", "总部", ""), dated(before), wants(NotIdempotent, codeSuccess))
}

func childFirst(s *scene) {
	s.bind()
	s.push("a department is added below one that is not there yet", directory.FlagAdd, department("10-1", "研发部", "10"))
	s.push("its parent is added", directory.FlagAdd, department("10", "总部", ""))
}

func userFirst(s *scene) {
	s.bind()
	s.push("a user is authorised, of a department that is not there yet", directory.FlagAdd, authorised(employee(1)))
	s.push("the department is added", directory.FlagAdd, department("10", "总部", ""))
}

func parentDeleted(s *scene) {
	s.staff()
	s.push("a department is added below it", directory.FlagAdd, department("10-1", "研发部", "10"))
	s.push("the upper one is deleted", directory.FlagDelete, department("10", "总部", ""))
	s.push("then the lower one", directory.FlagDelete, department("10-1", "研发部", "10"))
}

// replayedPushes are a push of each interface, kept as they are and sent again.
func replayedPushes(s *scene) {
	type push struct {
		step    string
		flag    directory.Flag
		payload directory.Payload
	}
	s.bind()
	pushes := []push{
		{"tenantSync", directory.FlagAdd, s.enterprise()},
		{"singleOrgSync", directory.FlagAdd, department("10", "总部", "")},
		{"allOrgSync", directory.FlagModify, fullList()},
		{"authSync", directory.FlagAdd, authorised(employee(1))},
		{"authSync, cancelled", directory.FlagCancel, authorised(employee(1))},
		{"authSync, deleted", directory.FlagDelete, authorised(employee(1))},
		{"singleOrgSync, deleted", directory.FlagDelete, department("10", "总部", "")},
	}
	if app := s.application(); app != nil {
		pushes = append(pushes, push{"applicationSync", directory.FlagAdd, app}, push{"applicationSync, deleted", directory.FlagDelete, app})
	}
	pushes = append(pushes, push{"tenantSync, deleted", directory.FlagDelete, s.enterprise()})
	times := make([]directory.SourceTime, len(pushes))
	for i, p := range pushes {
		times[i] = s.tick()
		s.push(p.step, p.flag, p.payload, dated(times[i]))
	}
	for i, p := range pushes {
		s.push(p.step+", replayed with the old timeStamp", p.flag, p.payload, dated(times[i]), wants(NotIdempotent, codeSuccess))
	}
}

// kitBinding is the order in which the marketplace calls when an application
// is bound (spec/marketplace.md §0).
func kitBinding() chapter {
	return chapter{"kit-%s-binding", []entry{
		{1, 0, "The seller creates an application credential: instanceId and orderId are empty", "§0", credentials},
		{2, 0, "The seller requests a test account", "§0", testAccount},
		{3, 0, "A buyer binds the application, authorises, edits, and unbinds", "§0", bindingSequence},
		{4, 0, "Two instances of one enterprise keep apart: deleting in one leaves the other", "§3.1", twoInstances},
	}}
}

func credentials(s *scene) {
	s.scope.InstanceID = ""
	enterprise := s.enterprise()
	enterprise.OrderID = ""
	s.bound = true
	s.push("the enterprise, without instance and order", directory.FlagAdd, enterprise)
	if app := s.application(); app != nil {
		s.push("the application", directory.FlagAdd, app)
	}
	s.push("all departments", directory.FlagModify, fullList())
}

func testAccount(s *scene) {
	credentials(s)
	s.push("the test account is authorised", directory.FlagAdd, authorised(employee(1)))
}

func bindingSequence(s *scene) {
	s.bind()
	s.push("all departments", directory.FlagModify, fullList())
	s.push("users are authorised", directory.FlagAdd, authorised(employee(1), employee(2), employee(3)))
	s.push("a department is added", directory.FlagAdd, department("10-3", "市场部", "10"))
	s.push("a user moves there", directory.FlagModify, authorised(moved(employee(2), "10-3")))
	s.push("a user loses the authorisation", directory.FlagCancel, authorised(employee(3)))
	s.push("all departments again", directory.FlagModify, fullList())
	s.push("the users are deleted", directory.FlagDelete, authorised(employee(1), employee(2), employee(3)))
	s.push("the enterprise is deleted", directory.FlagDelete, s.enterprise())
}

func moved(u directory.UserItem, to string) directory.UserItem {
	u.OrgCode = to
	return u
}

func twoInstances(s *scene) {
	credentials(s)
	first := s.scope
	s.scope.InstanceID = s.instance()
	s.push("the same enterprise is bound to an instance", directory.FlagAdd, s.enterprise())
	s.push("all departments", directory.FlagModify, fullList())
	second := s.scope
	s.scope = first
	s.push("the first is deleted", directory.FlagDelete, s.enterprise())
	s.scope = second
	s.push("the second goes on", directory.FlagAdd, department("10-3", strings.Repeat("长", 128), "10"))
}
