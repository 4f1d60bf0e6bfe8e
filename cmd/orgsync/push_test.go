package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/text/encoding/simplifiedchinese"
	"pgregory.net/rapid"

	"github.com/openkoo/connector/config"
	"github.com/openkoo/connector/directory"
	"github.com/openkoo/connector/marketplace/client"
)

const scopeFlags = "--tenant t1 --instance i1 "

// push runs a push of a file for tenant t1.
func (s *server) pushFile(t *testing.T, kind, flags, name, text string) result {
	t.Helper()
	args := append([]string{kind, write(t, name, text)}, strings.Fields(scopeFlags+flags)...)
	return s.push(t, args...)
}

// listed reads one kind of entity from the server's API.
func listed[T any](t *testing.T, s *server, path string) []T {
	t.Helper()
	api, err := (&apiFlags{url: s.base}).client(&settings{dataDir: s.dir})
	require.NoError(t, err)
	var page struct{ Items []T }
	require.NoError(t, api.call(t.Context(), http.MethodGet, path, map[string][]string{"limit": {"1000"}}, nil, &page))
	return page.Items
}

// Each kind of file arrives as it is written.
func TestFilesArriveAsTheyAreWritten(t *testing.T) {
	t.Parallel()
	s := serve(t)
	r := s.pushFile(t, "tenant", "", "tenant.json", `{"tenantCode": "acme", "name": "企业", "domainName": "acme.example.com"}`)
	require.NoError(t, r.err, r.out)
	// Numbers stay as they are written: no 1e+06, no lost digits.
	r = s.pushFile(t, "full", "", "full.json", `[
		{"orgCode": 1000000, "orgName": "总部 <&> \"一\"", "parentCode": null},
		{"orgCode": "00000002", "orgName": 2.50, "parentCode": 1000000},
		{"orgCode": 12345678901234567890, "orgName": true}]`)
	require.NoError(t, r.err, r.out)
	r = s.pushFile(t, "org", "", "more.csv", "\ufefforgName, orgCode ,parentCode\n\"逗号, 与\n换行\",3,1000000\n")
	require.NoError(t, r.err, r.out)
	r = s.pushFile(t, "users", "--app app-1", "users.csv",
		"userName,name,orgCode,role,enable,employeeType,mobile,entryDate\nzhang,张三,3,admin,TRUE,2,13812345678,2024-1-5\nli,李四,3,user,false,,,\n")
	require.NoError(t, r.err, r.out)
	r = s.pushFile(t, "users", "--app app-1 --flag modify", "users.json", `[{"userName":"wang","name":"王","orgCode":3,"role":"user","enable":true,"employeeType":4}]`)
	require.NoError(t, r.err, r.out)

	names := make(map[string]string)
	for _, d := range listed[directory.Department](t, s, "/departments") {
		names[d.Code] = d.Name + "|" + d.ParentCode
	}
	require.Equal(t, map[string]string{
		"1000000": `总部 <&> "一"|`, "00000002": "2.50|1000000", "12345678901234567890": "true|", "3": "逗号, 与\n换行|1000000",
	}, names)
	users := make(map[string]directory.User)
	for _, u := range listed[directory.User](t, s, "/users") {
		users[u.UserName] = u
	}
	require.Len(t, users, 3)
	require.Equal(t, []any{true, "admin", 2, "2024-1-5"}, []any{users["zhang"].Enabled, users["zhang"].Role, users["zhang"].EmployeeType, users["zhang"].EntryDate})
	require.Equal(t, []any{false, 0}, []any{users["li"].Enabled, users["li"].EmployeeType})
	require.Equal(t, []any{true, 4}, []any{users["wang"].Enabled, users["wang"].EmployeeType})

	r = s.pushFile(t, "users", "--app app-1 --flag delete", "gone.csv", "userName\nwang\n")
	require.NoError(t, r.err, r.out)
	require.Len(t, listed[directory.User](t, s, "/users"), 2)
	r = s.pushFile(t, "org", "--flag delete --test", "gone.csv", "orgCode\n3\n")
	require.NoError(t, r.err, r.out)
	require.Len(t, listed[directory.Department](t, s, "/departments"), 4, "debugging data changes nothing else")
}

func TestAClearSecretIsEncryptedWithThePublicKey(t *testing.T) {
	t.Parallel()
	s := serve(t)
	const app = `{"appId": "app-1", "clientId": "c-1", "clientSecret": "in-clear-text"}`
	r := s.pushFile(t, "app", "--public-key "+filepath.Join(s.dir, config.PublicKeyFile), "app.json", app)
	require.NoError(t, r.err, r.out)
	require.Len(t, listed[directory.Application](t, s, "/applications"), 1)
	require.NotContains(t, r.out+r.errOut+s.out.String(), "in-clear-text")

	r = s.pushFile(t, "app", "", "app.json", app)
	require.ErrorContains(t, r.err, "1 of 1 calls were refused")
	require.Contains(t, r.out, "000101 usually means: clientSecret is not encrypted with the other side's public key; --public-key does it.")
	require.NotContains(t, r.out+r.errOut+s.out.String(), "in-clear-text")

	r = s.pushFile(t, "app", "--public-key "+write(t, "key.pem", "no key"), "app.json", app)
	require.ErrorContains(t, r.err, "--public-key: public key: no PEM block found")
}

func TestRefusedCallsAreListedWithTheirLines(t *testing.T) {
	t.Parallel()
	s := serve(t)
	// What a row alone does not show: the tree would have a cycle.
	r := s.pushFile(t, "org", "", "d.csv", "orgCode,orgName,parentCode\n1,好,\n2,好,1\n1,好,2\n3,好,2\n1,好,3\n")
	require.Equal(t, 1, r.code())
	require.ErrorContains(t, r.err, "2 of 5 calls were refused")
	require.Contains(t, r.out, "line 4 (orgCode 1): 000002 parentCode: cycle: ")
	require.Contains(t, r.out, "line 6 (orgCode 1): 000002 parentCode: cycle: ")
	require.Contains(t, r.out, "000002 usually means: ")
	require.Regexp(t, `000000 +│ +3 │ success`, r.out)
	require.Len(t, listed[directory.Department](t, s, "/departments"), 3, "the others are done")
}

func TestAWrongKeyEndsThePushAtTheFirstCall(t *testing.T) {
	t.Parallel()
	s := serve(t)
	r := s.pushFile(t, "org", "--key-file "+write(t, "key", "another-key\n"), "d.csv", "orgCode,orgName\n1,a\n2,b\n3,c\n")
	require.ErrorContains(t, r.err, "1 of 3 calls were refused; stopped")
	require.Contains(t, r.out, "000001 usually means: the access key differs from the other side's (--key-file)")
	require.Regexp(t, `– +│ +2 │ not sent`, r.out)
	require.NotContains(t, r.out, "another-key")
}

func TestUsersGoInCallsOf500(t *testing.T) {
	t.Parallel()
	s := serve(t)
	var b strings.Builder
	b.WriteString("userName,name,orgCode,role,enable\n")
	for i := range 1201 {
		fmt.Fprintf(&b, "u%04d,某,1,user,true\n", i)
	}
	r := s.pushFile(t, "users", "--app a", "users.csv", b.String())
	require.NoError(t, r.err)
	require.Contains(t, r.out, "3 of 3 calls answered")
	status := s.operate(t, "status", "--tenant", "t1")
	require.Contains(t, status.out, "1201")
}

func TestADryRunSendsNothingAndShowsTheFirstCall(t *testing.T) {
	t.Parallel()
	s := serve(t)
	r := s.pushFile(t, "org", "--dry-run", "d.csv", "orgCode,orgName,parentCode\n1,总部,\n2,部,1\n")
	require.NoError(t, r.err)
	require.Contains(t, r.out, "Would make 2 calls. The first:\nPOST "+s.base+"/saasproduce/produceAPI/v2/singleOrgSync\n")
	require.Contains(t, r.out, `"orgName":"总部"`)
	require.Empty(t, listed[directory.Department](t, s, "/departments"))
	r = s.pushFile(t, "app", "--dry-run", "a.json", `{"appId":"a","clientId":"c","clientSecret":"in-clear-text"}`)
	require.NoError(t, r.err)
	require.NotContains(t, r.out, "in-clear-text")
}

// What is wrong with a file is told with file, line and column, all at once,
// before anything is sent.
func TestFaultyFiles(t *testing.T) {
	t.Parallel()
	const header = "userName,name,orgCode,role,enable,employeeType\n"
	for _, c := range []struct {
		name, kind, file, text string
		want                   []string
	}{
		{"unknown column", "full", "d.csv", "orgCode,orgNmae\n1,a\n", []string{`d.csv:1:9: column "orgNmae": no such member; want orgCode, orgName, parentCode`, `d.csv:1:1: column "orgName": missing`}},
		{"column twice", "full", "d.csv", "orgCode,orgName,orgCode\n", []string{`d.csv:1:17: column "orgCode": given twice`}},
		{"empty CSV", "full", "d.csv", "", []string{"d.csv: empty; want a header line with orgCode, orgName, parentCode"}},
		{"only a header", "org", "d.csv", "orgCode,orgName\n", []string{"the file has no rows: nothing to send"}},
		{"a full list of none", "full", "d.csv", "orgCode,orgName\n", []string{"d.csv: no rows: an empty list asks the other side to delete every department; if you mean that, add --allow-empty"}},
		{"a full JSON list of none", "full", "d.json", "[]", []string{"d.json: no rows: an empty list asks"}},
		{"ragged", "full", "d.csv", "orgCode,orgName\n1,a\n2\n", []string{"d.csv:3:1: fewer values than the header line has columns"}},
		{"bare quote", "full", "d.csv", "orgCode,orgName\n1,a\"b\n", []string{`d.csv:2:4: bare " in non-quoted-field`}},
		{"missing values", "full", "d.csv", "orgCode,orgName\n,a\n2,\n", []string{"d.csv:2:1: orgCode: missing", "d.csv:3:3: orgName: missing"}},
		{"neither UTF-8 nor GB18030", "full", "d.csv", "orgCode,orgName\n1,\xd7\n", []string{`d.csv:2: not UTF-8; save the file as UTF-8 (in Excel: "CSV UTF-8")`}},
		{"too many values", "full", "d.csv", "orgCode,orgName\n1,a,b\n", []string{"d.csv:2:5: more values than the header line has columns"}},
		{"a column without a name", "full", "d.csv", "orgCode,orgName,\n1,a,b\n", []string{`d.csv:2:5: "b" stands in a column without a name`}},
		{"a bad date", "users", "u.csv", header[:len(header)-1] + ",entryDate\na,A,1,user,true,,2024-13-01\n", []string{"u.csv:2:18: entryDate: "}},
		{"a bad role", "users", "u.csv", header + "a,A,1,boss,true,\n", []string{"u.csv:2:7: role: "}},
		{"too long", "users", "u.csv", header + strings.Repeat("a", 65) + ",A,1,user,true,\n", []string{"u.csv:2:1: userName: longer than 64"}},
		{"an account twice, in two calls", "users", "u.csv", header + manyUsers(500) + "u1,A,1,user,true,\n", []string{`u.csv:502:1: userName: "u1" stands in line 3 already`}},
		{"a fault in the second call", "users", "u.csv", header + manyUsers(600) + "x,A,1,boss,true,\n", []string{"u.csv:602:7: role: "}},
		{"a department twice", "full", "d.csv", "orgCode,orgName\n1,a\n1,b\n", []string{`d.csv:3:1: orgCode: "1" stands in line 2 already`}},
		{"its own parent", "org", "d.csv", "orgCode,orgName,parentCode\n1,a,1\n", []string{"d.csv:2:5: parentCode: orgCode is its own parent"}},
		{"enable", "users", "u.csv", header + "a,A,1,user,yes,\nb,B,1,user,1,\n", []string{`u.csv:2:12: enable: "yes": want true or false`, `u.csv:3:12: enable: "1": want true or false`}},
		{"no enable", "users", "u.csv", header + "a,A,1,user,,\n", []string{"u.csv:2:12: enable: missing"}},
		{"employeeType", "users", "u.csv", header + "a,A,1,user,true,intern\nb,B,1,user,true,5\n", []string{`u.csv:2:17: employeeType: "intern": want 1 regular`, `u.csv:3:17: employeeType: "5": want`}},
		{"employeeType 1.0", "users", "u.json", `[{"userName":"a","name":"A","orgCode":"1","role":"user","enable":true,"employeeType":1.0}]`, []string{`u.json:1:86: employeeType: "1.0": want 1 regular`}},
		{"unknown member", "full", "d.json", "[\n {\"orgCode\": \"1\",\n  \"orgname\": \"x\"}]", []string{`d.json:3:3: "orgname": no such member; want orgCode, orgName, parentCode`}},
		{"member twice", "full", "d.json", `[{"orgCode":"1","orgCode":"2"}]`, []string{`d.json:1:17: "orgCode": given twice`}},
		{"member missing", "full", "d.json", "[\n{\"orgCode\":\"1\"}]", []string{"d.json:2:1: orgName: missing"}},
		{"null is missing", "full", "d.json", `[{"orgCode":"1","orgName":null}]`, []string{"d.json:1:2: orgName: missing"}},
		{"nested", "full", "d.json", `[{"orgCode":["1"],"orgName":"a"}]`, []string{"d.json:1:13: orgCode: want text, a number, true or false"}},
		{"not a list", "full", "d.json", `"x"`, []string{"d.json:1:1: want a list of objects, or one object; a CSV file's name ends in .csv"}},
		{"list of text", "full", "d.json", `["x"]`, []string{"d.json:1:2: want an object"}},
		{"broken JSON", "full", "d.json", "[{\"orgCode\":\"1\"\n\"orgName\":\"a\"}]", []string{"d.json:2:1: malformed JSON: "}},
		{"cut off", "full", "d.json", `[{"orgCode":"1","orgName":"a"}`, []string{"malformed JSON: "}},
		{"more behind it", "full", "d.json", `[{"orgCode":"1","orgName":"a"}] x`, []string{"d.json:1:33: want nothing behind the list"}},
		{"CSV named JSON", "full", "d.txt", "orgCode,orgName\n", []string{"d.txt:1:1: malformed JSON: "}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			path := write(t, c.file, c.text)
			r := run(t, nil, "push", c.kind, path, "--tenant", "t1", "--url", "http://127.0.0.1:1", "--key-file", write(t, "k", "some-key"), "--app", "a")
			if c.kind != "users" {
				r = run(t, nil, "push", c.kind, path, "--tenant", "t1", "--url", "http://127.0.0.1:1", "--key-file", write(t, "k", "some-key"))
			}
			require.Equal(t, 1, r.code())
			text := strings.ReplaceAll(r.err.Error(), filepath.Dir(path)+"/", "")
			for _, want := range c.want {
				require.Contains(t, text, want)
			}
			require.Len(t, strings.Split(text, "\n"), len(c.want), text)
		})
	}
}

// manyUsers are rows u0, u1 and so on.
func manyUsers(n int) string {
	var rows strings.Builder
	for i := range n {
		fmt.Fprintf(&rows, "u%d,A,1,user,true,\n", i)
	}
	return rows.String()
}

// A file that a spreadsheet saved is read if nothing is lost, with a warning if
// something may be.
func TestPush_ReadsWhatSpreadsheetsSave(t *testing.T) {
	t.Parallel()
	gbk, err := simplifiedchinese.GBK.NewEncoder().String("orgCode,orgName,parentCode\n1,总部,\n2,研发,1\n")
	require.NoError(t, err)
	const rows = "orgCode,orgName,parentCode\n1,总部,\n2,研发,1\n"
	for name, c := range map[string]struct{ text, warning string }{
		"as it is":              {rows, ""},
		"blank rows":            {"orgCode,orgName,parentCode\r\n1,总部,\r\n,,\r\n \u00a0,,\r\n2,研发,1\r\n,,\r\n", ""},
		"blank columns":         {"orgCode,orgName,parentCode,,\n1,总部,,,\n2,研发,1,,\n", ""},
		"values behind a row":   {"orgCode,orgName,parentCode\n1,总部,,,\n2,研发,1\n", ""},
		"semicolons":            {strings.ReplaceAll(rows, ",", ";"), ""},
		"tabs":                  {strings.ReplaceAll(rows, ",", "\t"), ""},
		"a byte order mark":     {"\ufeff" + rows, ""},
		"GBK":                   {gbk, "d.csv: not UTF-8; read as GB18030"},
		"a shortened number":    {"orgCode,orgName\n1,总部\n1.23457E+17,研发\n", `d.csv:3:1: orgCode: "1.23457E+17" looks like a long number that a spreadsheet has shortened`},
		"a blank at its end":    {"orgCode,orgName\n1\u00a0,总部\n2,研发\n", `d.csv:2:1: orgCode: "1\u00a0" begins or ends with a blank`},
		"an invisible letter":   {"orgCode,orgName\n1\u200b1,总部\n2,研发\n", `d.csv:2:1: orgCode: "1\u200b1" holds a character that cannot be seen`},
		"a blank in the parent": {"orgCode,orgName,parentCode\n1,总部,\n2,研发, 1\n", `d.csv:3:10: parentCode: " 1" begins or ends with a blank`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := write(t, "d.csv", c.text)
			args := []string{"push", "full", path, "--tenant", "t1", "--url", "http://127.0.0.1:1", "--dry-run"}
			r := run(t, nil, args...)
			require.NoError(t, r.err)
			require.Contains(t, r.out, `研发`)
			strict := run(t, nil, append(args, "--strict")...)
			if c.warning == "" {
				require.Empty(t, r.errOut)
				require.NoError(t, strict.err)
				require.Contains(t, r.out, `"orgCode":"2"`)
				return
			}
			require.Contains(t, r.errOut, "Warning: "+filepath.Dir(path)+"/"+c.warning)
			require.ErrorContains(t, strict.err, c.warning)
			require.ErrorContains(t, strict.err, "--strict")
		})
	}
}

func TestOnlySoManyFaultsAreTold(t *testing.T) {
	t.Parallel()
	path := write(t, "d.csv", "orgCode,orgName\n"+strings.Repeat(",x\n", 1000))
	_, _, err := readRows(path, departmentColumns(directory.FlagAdd))
	require.Len(t, strings.Split(err.Error(), "\n"), maxFaults)
}

// Whatever is written as CSV or JSON is read back as it was.
func TestRowsAreReadBackAsWritten(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	rapid.Check(t, func(r *rapid.T) {
		text := rapid.StringOf(rapid.RuneFrom([]rune("a\"',\n中😀<\\ 0\t")))
		var want []directory.DepartmentItem
		for range rapid.IntRange(0, 5).Draw(r, "rows") {
			want = append(want, directory.DepartmentItem{Code: "c" + text.Draw(r, "code"), Name: text.Draw(r, "name") + "n", ParentCode: text.Draw(r, "parent")})
		}
		objects := make([]map[string]string, 0, len(want))
		csvText := "orgCode,orgName,parentCode\n"
		for _, d := range want {
			objects = append(objects, map[string]string{"orgCode": d.Code, "orgName": d.Name, "parentCode": d.ParentCode})
			for i, value := range []string{d.Code, d.Name, d.ParentCode} {
				csvText += `"` + strings.ReplaceAll(value, `"`, `""`) + `"` + string(",,\n"[i])
			}
		}
		jsonText, err := json.MarshalIndent(objects, "", " ")
		require.NoError(r, err)
		for name, text := range map[string]string{"d.csv": csvText, "d.json": string(jsonText)} {
			path := filepath.Join(dir, name)
			require.NoError(r, os.WriteFile(path, []byte(text), 0o600))
			rows, _, err := readRows(path, departmentColumns(directory.FlagAdd))
			require.NoError(r, err)
			var got []directory.DepartmentItem
			for i := range rows {
				got = append(got, department(&rows[i]))
			}
			require.Equal(r, want, got, name)
		}
	})
}

func FuzzReadRows(f *testing.F) {
	f.Add("d.csv", "orgCode,orgName\n1,a\n")
	f.Add("d.json", `[{"orgCode": 1, "orgName": "a"}]`)
	f.Add("d.json", `{"orgCode": "\ud800"}`)
	f.Add("d.csv", "\"\n")
	f.Fuzz(func(t *testing.T, name, text string) {
		name = map[bool]string{true: "d.csv", false: "d.json"}[strings.HasSuffix(name, ".csv")]
		path := filepath.Join(t.TempDir(), name)
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
		rows, _, err := readRows(path, departmentColumns(directory.FlagAdd))
		if err != nil {
			require.Contains(t, err.Error(), path, "the file is named")
			return
		}
		for i := range rows {
			require.NotEmpty(t, rows[i].text("orgCode"))
			require.Positive(t, rows[i].at.line)
		}
	})
}

// Ctrl-C in the middle of a push ends it at once and says where it stands.
func TestAPushThatIsInterruptedSaysHowFarItCame(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	var calls atomic.Int32
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body) // else the server does not see the caller hang up
		if calls.Add(1) == 3 {
			cancel()
			<-r.Context().Done() // answers nothing, as a slow server would
			return
		}
		fmt.Fprint(w, `{"resultCode":"000000","resultMsg":"success."}`)
	}))
	defer server.Close()
	path := write(t, "d.csv", "orgCode,orgName\n1,a\n2,b\n3,c\n4,d\n5,e\n")
	r := runIn(ctx, nil, "push", "org", path, "--tenant", "t1", "--url", server.URL, "--key-file", write(t, "k", "some-key"))
	require.Equal(t, exitInterrupted, r.code())
	require.Contains(t, r.errOut, "Stopped after 2 of 5 calls. What was answered 000000 is done; sending the file again does no harm.")
	require.Contains(t, r.out, "2 of 5 calls answered")
	require.NotContains(t, r.out+r.errOut, "context canceled")
}

func TestManyRefusalsAreCutAndCounted(t *testing.T) {
	t.Parallel()
	var out, errOut bytes.Buffer
	s := &sender{out: &out, errOut: &errOut, push: func(context.Context, directory.PushKind, []byte) (client.Answer, error) {
		return client.Answer{Code: "000005", Message: "internal error"}, nil
	}}
	calls := make([]call, 50)
	for i := range calls {
		calls[i] = call{payload: &directory.DepartmentPush{}, what: "x", first: place{i + 2, 1}, last: place{i + 2, 1}}
	}
	err := s.send(t.Context(), calls)
	require.EqualError(t, err, "50 of 50 calls were refused")
	require.Contains(t, out.String(), "… and 30 more\n")
	require.Equal(t, 20, strings.Count(out.String(), "000005 internal error"))
	require.Empty(t, errOut.String(), "no bar where nobody sees it")
}

func TestATransportErrorKeepsItsCause(t *testing.T) {
	t.Parallel()
	gone := errors.New("the line is dead")
	s := &sender{out: &bytes.Buffer{}, errOut: &bytes.Buffer{}, push: func(context.Context, directory.PushKind, []byte) (client.Answer, error) {
		return client.Answer{}, gone
	}}
	require.ErrorIs(t, s.send(t.Context(), make3()), gone)
}

func make3() []call {
	return []call{{payload: &directory.DepartmentPush{}}, {payload: &directory.DepartmentPush{}}, {payload: &directory.DepartmentPush{}}}
}
