package simulate

import (
	"strings"

	"github.com/openkoo/connector/directory"
	"github.com/openkoo/connector/marketplace/client"
)

// kitInput are calls that are signed well, and wrong (spec/marketplace.md §2).
func kitInput() chapter {
	long := strings.Repeat("长", 129)
	org := department("10", "总部", "")
	return chapter{"kit-%s-input", []entry{
		{1, 0, "tenantId is missing", "§3", refused(directory.FlagAdd, org, without("tenantId"))},
		{2, 0, "tenantId is empty", "§3", refused(directory.FlagAdd, org, set("tenantId", ""))},
		{3, client.V2, "timeStamp is missing", "§3", refused(directory.FlagAdd, org, without("timeStamp"))},
		{4, client.V2, "timeStamp is no time", "§3", refused(directory.FlagAdd, org, set("timeStamp", "yesterday"))},
		{5, 0, "flag is missing", "§3.4", refused(directory.FlagAdd, org, without("flag"))},
		{6, 0, "flag is unknown", "§3.4", refused(directory.FlagAdd, org, set("flag", 9))},
		{7, 0, "testFlag is unknown", "§3", refused(directory.FlagAdd, org, set("testFlag", 7))},
		{8, 0, "orgCode is missing", "§3.4", refused(directory.FlagAdd, org, without("orgCode"))},
		{9, 0, "orgName is missing", "§3.4", refused(directory.FlagAdd, org, without("orgName"))},
		{10, 0, "orgName has 129 characters", "§3.4", refused(directory.FlagAdd, org, set("orgName", long))},
		{11, 0, "orgName is an object", "§2", refused(directory.FlagAdd, org, set("orgName", client.Members{{Name: "zh", Value: "总部"}}))},
		{12, 0, "A department is its own parent", "§2", refused(directory.FlagAdd, org, set("parentCode", "10"))},
		{13, 0, "The name of an enterprise is missing", "§3.1", refused(directory.FlagAdd, &directory.TenantPush{OrderID: "o", Code: "c", DomainName: "d"}, without("name"))},
		{14, 0, "The department tree has a cycle", "§2", refused(directory.FlagModify, &directory.FullPush{Departments: []directory.DepartmentItem{
			{Code: "1", Name: "甲", ParentCode: "2"}, {Code: "2", Name: "乙", ParentCode: "1"},
		}})},
		{15, client.V2, "The department list is missing", "§3.5", refused(directory.FlagModify, fullList(), without("orgInfoList"))},
		{16, client.V1, "The department list is missing", "§3.5", refused(directory.FlagModify, fullList(), without("orgInfo"))},
		{17, client.V2, "The department list is no list", "§3.5", refused(directory.FlagModify, fullList(), set("orgInfoList", "[{orgCode:"))},
		{18, client.V1, "The department list is no list", "§3.5", refused(directory.FlagModify, fullList(), set("orgInfo", "[{orgCode:"))},
		{19, 0, "userList is missing", "§3.3", refused(directory.FlagAdd, authorised(employee(1)), without("userList"))},
		{20, 0, "A user has no userName", "§3.3", refused(directory.FlagAdd, authorised(directory.UserItem{Name: "某", OrgCode: "10", Role: "user"}))},
		{21, 0, "appId is missing", "§3.3", refused(directory.FlagAdd, authorised(employee(1)), without("appId"))},
		{22, 0, "501 users in one call", "§3.3", refused(directory.FlagAdd, authorised(make501()...))},
		{23, 0, "clientSecret is missing", "§3.2", refused(directory.FlagAdd, &directory.ApplicationPush{AppID: appID, ClientID: "c"}, without("clientSecret"))},
		{24, 0, "clientSecret does not decrypt", "§3.2", undecryptable},
		{25, 0, "The body is not JSON", "§2", notJSON},
		{26, 0, "currentSyncTime is missing", "§3.3", refused(directory.FlagAdd, authorised(employee(1)), without("currentSyncTime"))},
	}}
}

func make501() []directory.UserItem {
	users := make([]directory.UserItem, directory.MaxUsers+1)
	for i := range users {
		users[i] = employee(i)
	}
	return users
}

// refused is a call that is to be answered 000002.
func refused(flag directory.Flag, payload directory.Payload, changes ...change) func(*scene) {
	return func(s *scene) {
		s.bind()
		s.push("the call", flag, payload, append(changes, wants(AcceptsInput, codeInvalid))...)
	}
}

func undecryptable(s *scene) {
	s.scope.InstanceID = s.instance()
	s.bound = true
	s.push("before: the enterprise is bound", directory.FlagAdd, s.enterprise())
	garbage := strings.Repeat("QUJDREVGR0hJSktM", 32) // Base64 of 384 bytes, as long as RSA-3072 makes
	s.push("an application is added", directory.FlagAdd, &directory.ApplicationPush{AppID: appID, ClientID: "c", ClientSecret: garbage}, wants(AcceptsInput, codeClientSecret))
}

// A body that is not JSON cannot be signed as the protocol signs: a server may
// see either first.
func notJSON(s *scene) {
	s.bind()
	s.push("half a body", directory.FlagAdd, department("10", "总部", ""), spoiled(withBody(`{"tenantId":"t","orgCode":`)), refusal(AcceptsInput))
}
