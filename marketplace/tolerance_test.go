package marketplace_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/openkoo/connector/directory"
	"github.com/openkoo/connector/marketplace"
)

// tolerated is a shape that the guides' contradictions make possible, and the
// push that it means.
type tolerated struct {
	name string
	kind directory.PushKind
	body string
	want directory.Push // ID, ReceivedAt and Raw aside
}

var (
	tolerantScope = directory.Scope{Dataset: directory.Prod, InstanceID: "i1", TenantID: "t1"}
	tolerantTime  = directory.SourceTimeOf(time.Date(2022, 4, 13, 9, 35, 39, 534e6, directory.China))
)

const tolerantCommon = `"instanceId":"i1","tenantId":"t1","testFlag":0,"timeStamp":"20220413093539534"`

func meant(flag directory.Flag, payload directory.Payload) directory.Push {
	return directory.Push{Scope: tolerantScope, Flag: flag, SourceTime: tolerantTime, Payload: payload}
}

func TestToleratedShapes(t *testing.T) {
	t.Parallel()
	for _, c := range append(append(toleratedLists(), toleratedMembers()...), toleratedUsers()...) {
		t.Run(string(c.kind)+" "+c.name, func(t *testing.T) {
			t.Parallel()
			got, err := marketplace.Decode(c.kind, []byte(c.body))
			require.NoError(t, err)
			require.Equal(t, c.body, string(got.Raw), "the body is kept as it came")
			got.Raw = nil
			require.Equal(t, &c.want, got)
		})
	}
}

// toleratedLists are the shapes of a department list.
func toleratedLists() []tolerated {
	two := meant(directory.FlagModify, &directory.FullPush{Departments: []directory.DepartmentItem{
		{Code: "00000001", Name: "产品部", ParentCode: "265789314"}, {Code: "00000002", Name: "测试部"},
	}})
	list := func(name, member string) tolerated {
		return tolerated{name, directory.AllOrgSync, `{` + member + `,` + tolerantCommon + `}`, two}
	}
	quoted := func(text string) string {
		literal, err := json.Marshal(text)
		if err != nil {
			panic(err) // a constant of the test
		}
		return string(literal)
	}
	const strict = `[{"orgCode":"00000001","orgName":"产品部","parentCode":"265789314"},{"orgCode":"00000002","orgName":"测试部","parentCode":""}]`
	const relaxed = `[{orgCode:"00000001", orgName:"产品部", parentCode:"265789314" },{orgCode:"00000002", orgName:"测试部", parentCode:"" }]`
	return []tolerated{
		list("a list", `"orgInfoList":`+strict),
		list("a string of strict JSON", `"orgInfoList":`+quoted(strict)),
		list("the guide's example: a string, names without quotes", `"orgInfoList":`+quoted(relaxed)),
		list("a string with white space around", `"orgInfoList":`+quoted(" \n"+relaxed+"\t ")),
		list("a string half strict, half relaxed", `"orgInfoList":`+quoted(strings.Replace(relaxed, "orgName", `"orgName"`, 1))),
		list("a string with escapes in its strings", `"orgInfoList":`+quoted(strings.Replace(relaxed, "产品部", `\u4ea7\u54c1\u90e8`, 1))),
		list("a string all in unicode escapes", `"orgInfoList":"`+strings.ReplaceAll(strings.ReplaceAll(relaxed, `"`, `\u0022`), "产", `\u4ea7`)+`"`),
		list("OrgName", `"orgInfoList":`+strings.ReplaceAll(strict, "orgName", "OrgName")),
		list("name", `"orgInfoList":`+strings.ReplaceAll(strict, "orgName", "name")),
		list("each with its own spelling", `"orgInfoList":`+strings.Replace(strict, "orgName", "name", 1)),
		list("V1's orgInfo, a string with name", `"orgInfo":`+quoted(strings.ReplaceAll(strict, "orgName", "name"))),
		list("V1's orgInfo, a list", `"orgInfo":`+strict),
		list("V1's orgInfo beside a null orgInfoList", `"orgInfoList":null,"orgInfo":`+strict),
		list("parentCode null", `"orgInfoList":`+strings.Replace(strict, `"parentCode":""`, `"parentCode":null`, 1)),
		list("parentCode absent", `"orgInfoList":`+strings.Replace(strict, `,"parentCode":""`, ``, 1)),
		list("members more than known", `"orgInfoList":`+strings.Replace(strict, `{"orgCode":"00000001"`, `{"leader":{"a":["b",1,null]},"orgCode":"00000001"`, 1)),
		list("a member twice, the last counts", `"orgInfoList":`+strings.Replace(strict, `"orgName":"产品部"`, `"orgName":"旧名","orgName":"产品部"`, 1)),
		list("a flag, though it has none", `"flag":1,"orgInfoList":`+strict),
		list("the whole list twice, the last counts", `"orgInfoList":[],"orgInfoList":`+strict),
		{"an empty list", directory.AllOrgSync, `{"orgInfoList":[],` + tolerantCommon + `}`,
			meant(directory.FlagModify, &directory.FullPush{Departments: []directory.DepartmentItem{}})},
		{"an empty list in a string", directory.AllOrgSync, `{"orgInfoList":"[ ]",` + tolerantCommon + `}`,
			meant(directory.FlagModify, &directory.FullPush{Departments: []directory.DepartmentItem{}})},
	}
}

// toleratedMembers are the shapes of the members that all interfaces share.
func toleratedMembers() []tolerated {
	department := func(code, name, parent string) *directory.DepartmentPush {
		return &directory.DepartmentPush{DepartmentItem: directory.DepartmentItem{Code: code, Name: name, ParentCode: parent}}
	}
	plain := meant(directory.FlagAdd, department("10000", "开发部", "1"))
	one := func(name, body string, want directory.Push) tolerated {
		return tolerated{name, directory.SingleOrgSync, body, want}
	}
	const rest = `"orgCode":"10000","orgName":"开发部","parentCode":"1"`
	debugging := plain
	debugging.Scope.Dataset = directory.Test
	unbound := plain
	unbound.Scope.InstanceID = ""
	most := strings.Repeat("汉", 64)
	return []tolerated{
		one("as the guide has it", `{`+rest+`,"flag":1,`+tolerantCommon+`}`, plain),
		one("integers as strings", `{`+rest+`,"flag":"1",`+strings.Replace(tolerantCommon, `:0`, `:"0"`, 1)+`}`, plain),
		one("white space everywhere", "\r\n{ "+strings.ReplaceAll(rest, ":", " : ")+" ,\t\"flag\" : 1 ,\n"+tolerantCommon+"\n} \n", plain),
		one("unknown members", `{"x":[1,{"y":null}],`+rest+`,"flag":1,"traceId":"a",`+tolerantCommon+`}`, plain),
		one("names and values in escapes", `{"\u006frgCode":"1\u00300\u0030\u0030","orgName":"\u5f00\u53d1\u90e8","parentCode":"1","flag":1,`+tolerantCommon+`}`, plain),
		one("instanceId twice, the last counts", `{"instanceId":"first",`+rest+`,"flag":1,`+tolerantCommon+`}`, plain),
		one("debugging data", `{`+rest+`,"flag":1,`+strings.Replace(tolerantCommon, `:0`, `:1`, 1)+`}`, debugging),
		one("no instance yet", `{`+rest+`,"flag":1,`+strings.Replace(tolerantCommon, `"i1"`, `""`, 1)+`}`, unbound),
		one("a modify", `{`+rest+`,"flag":2,`+tolerantCommon+`}`, meant(directory.FlagModify, department("10000", "开发部", "1"))),
		one("a delete with its key alone", `{"orgCode":"10000","flag":0,`+tolerantCommon+`}`, meant(directory.FlagDelete, department("10000", "", ""))),
		one("a delete whose other members are wrong", `{"orgCode":"10000","orgName":7,"parentCode":"10000","flag":0,`+tolerantCommon+`}`,
			meant(directory.FlagDelete, department("10000", "", ""))),
		one("lengths counted in characters", `{"orgCode":"`+most+`","orgName":"`+most+most+`","parentCode":"`+strings.Repeat("😀", 64)+`","flag":1,`+tolerantCommon+`}`,
			meant(directory.FlagAdd, department(most, most+most, strings.Repeat("😀", 64)))),
		one("a surrogate pair in escapes", `{"orgCode":"10000","orgName":"\ud83d\ude00","parentCode":"1","flag":1,`+tolerantCommon+`}`,
			meant(directory.FlagAdd, department("10000", "😀", "1"))),
		{"orderId empty", directory.TenantSync, `{"orderId":"","tenantCode":"c","name":"n","domainName":"d","flag":1,` + tolerantCommon + `}`,
			meant(directory.FlagAdd, &directory.TenantPush{Code: "c", Name: "n", DomainName: "d"})},
		{"deleted by its key", directory.TenantSync, `{"flag":0,` + tolerantCommon + `}`, meant(directory.FlagDelete, &directory.TenantPush{})},
		{"deleted by its key", directory.ApplicationSync, `{"appId":"a","flag":"0",` + tolerantCommon + `}`,
			meant(directory.FlagDelete, &directory.ApplicationPush{AppID: "a"})},
		{"as the guide has it", directory.ApplicationSync, `{"appId":"a","clientId":"c","clientSecret":"AAAA","flag":2,` + tolerantCommon + `}`,
			meant(directory.FlagModify, &directory.ApplicationPush{AppID: "a", ClientID: "c", ClientSecret: "AAAA"})},
	}
}

// toleratedUsers are the shapes of an account list.
func toleratedUsers() []tolerated {
	full := directory.UserItem{
		UserName: "zhangsan01", Name: "张三", OrgCode: "1", Role: "admin", Enabled: true, Position: "工程师", EmployeeCode: "E1",
		EmployeeType: 4, Mobile: "139", Email: "z@example.com", WorkPlace: "南京", EntryDate: "2022-11-9",
	}
	least := directory.UserItem{UserName: "zhangsan01", Name: "张三", OrgCode: "1", Role: "user"}
	const key = `"userName":"zhangsan01","name":"张三","orgCode":"1"`
	const more = key + `,"role":"admin","position":"工程师","employeeCode":"E1","mobile":"139","email":"z@example.com"`
	const v2 = `"employeeType":4,"workPlace":"南京","entryDate":"2022-11-9"`
	auth := func(flag, list string, meaning directory.Flag, users ...directory.UserItem) (string, directory.Push) {
		return `{"appId":"app","currentSyncTime":"20220413093539534","flag":` + flag + `,"userList":` + list + `,` + tolerantCommon + `}`,
			meant(meaning, &directory.AuthPush{AppID: "app", Users: users})
	}
	var cases []tolerated
	add := func(name, list string, user directory.UserItem) {
		body, want := auth("1", list, directory.FlagAdd, user)
		cases = append(cases, tolerated{name, directory.AuthSync, body, want})
	}
	escaped := func(text string) string { return `"` + strings.ReplaceAll(text, `"`, `\"`) + `"` }
	add("as V2 has it", `[{`+more+`,"enable":"true",`+v2+`}]`, full)
	add("enable as a boolean", `[{`+more+`,"enable":true,`+v2+`}]`, full)
	add("employeeType as a string", `[{`+more+`,"enable":"true",`+strings.Replace(v2, "4", `"4"`, 1)+`}]`, full)
	add("the list as a string, as V1 has it", escaped(`[{`+more+`,"enable":"true",`+v2+`}]`), full)
	add("the list as a relaxed string", escaped(strings.ReplaceAll(`[{`+more+`,"enable":"true",`+v2+`}]`, `"name"`, "name")), full)
	add("V1's extension, an object", `[{`+more+`,"enable":"true","extension":{`+v2+`}}]`, full)
	add("V1's extension, a string", `[{`+more+`,"enable":"true","extension":`+escaped(`{`+v2+`}`)+`}]`, full)
	add("V1's extension before the rest", `[{"extension":{`+v2+`},`+more+`,"enable":"true"}]`, full)
	add("an extension with a part of them", `[{`+more+`,"enable":"true","employeeType":4,"extension":{"workPlace":"南京","entryDate":"2022-11-9"}}]`, full)
	add("an extension beside the members, which count", `[{`+more+`,"enable":"true",`+v2+`,"extension":{"workPlace":"北京","employeeType":1}}]`, full)
	add("an empty extension", `[{`+more+`,"enable":"true",`+v2+`,"extension":""}]`, full)
	add("a null extension", `[{`+more+`,"enable":"true",`+v2+`,"extension":null}]`, full)
	add("the least there is", `[{`+key+`,"role":"user","enable":"false"}]`, least)
	add("enable false as a boolean", `[{`+key+`,"role":"user","enable":false}]`, least)
	add("optional members empty", `[{`+key+`,"role":"user","enable":"false","position":"","employeeCode":"","mobile":"","email":"","entryDate":"","employeeType":"","workPlace":""}]`, least)
	add("optional members null", `[{`+key+`,"role":"user","enable":"false","position":null,"mobile":null,"email":null,"entryDate":null,"employeeType":null,"workPlace":null}]`, least)
	for _, date := range []string{"2022-11-09", "2022-1-9", "2022-01-31"} {
		user := least
		user.EntryDate = date
		add("entry date "+date, `[{`+key+`,"role":"user","enable":"false","entryDate":"`+date+`"}]`, user)
	}
	for flag, meaning := range map[string]directory.Flag{"0": directory.FlagDelete, "3": directory.FlagCancel} {
		body, want := auth(flag, `[{"userName":"zhangsan01","role":5},{"userName":"lisi02"}]`, meaning,
			directory.UserItem{UserName: "zhangsan01"}, directory.UserItem{UserName: "lisi02"})
		body = strings.Replace(body, `"currentSyncTime":"20220413093539534",`, "", 1)
		cases = append(cases, tolerated{"flag " + flag + " with names alone", directory.AuthSync, body, want})
	}
	body, want := auth("1", "[]", directory.FlagAdd)
	return append(cases, tolerated{"nobody", directory.AuthSync, body, want})
}

// What signature a call may carry, through the door.
func TestToleratedSignatures(t *testing.T) {
	t.Parallel()
	const untidy = `{ "timeStamp" : "20220413093539534", "tenantId" : "t1", "instanceId" : "i1", "testFlag" : 0,
		"orgCode" : "c\/1", "orgName" : "\u5f00\u53d1\u90e8", "parentCode" : null, "flag" : 1 }`
	const canonical = `{"flag":1,"instanceId":"i1","orgCode":"c/1","orgName":"开发部","tenantId":"t1","testFlag":0,"timeStamp":"20220413093539534"}`
	payload := func(text string) func(*call) {
		return func(c *call) { c.signature = signRaw(c.key, c.nonce, c.timestamp, []byte(text)) }
	}
	cases := map[string]func(*call){
		"over the canonical payload":       payload(canonical),
		"over the bytes as they were sent": payload(untidy),
		"in upper case": func(c *call) {
			payload(canonical)(c)
			c.signature = strings.ToUpper(c.signature)
		},
		"with the older key, during rotation": func(c *call) {
			c.key = oldAccessKey
			payload(canonical)(c)
		},
		"with the older key over the bytes, in upper case": func(c *call) {
			c.key = oldAccessKey
			payload(untidy)(c)
			c.signature = strings.ToUpper(c.signature)
		},
		"at the old end of the window": func(c *call) {
			c.timestamp = "1649813679534"
			payload(canonical)(c)
		},
		"at the new end of the window": func(c *call) {
			c.timestamp = "1649813799534"
			payload(canonical)(c)
		},
		"at an address registered with a slash at its end": func(c *call) {
			c.path = strings.Replace(c.path, "/produceAPI", "//produceAPI", 1)
			payload(canonical)(c)
		},
		"with a nonce of 128 characters": func(c *call) {
			c.nonce = strings.Repeat("n", 128)
			payload(canonical)(c)
		},
	}
	for name, sign := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHouse(t, nil)
			request := h.newCall(directory.SingleOrgSync, []byte(untidy))
			sign(request)
			got := h.do(t, request)
			require.JSONEq(t, `{"resultCode": "000000", "resultMsg": "success."}`, got.body)
			s := h.stored(t)
			require.Len(t, s.Changes, 1)
			require.Equal(t, "开发部", s.Changes[0].Department.Name)
			require.Equal(t, "c/1", s.Changes[0].Key)
		})
	}
}
