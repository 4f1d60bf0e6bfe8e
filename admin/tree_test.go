package admin_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/openkoo/connector/admin"
	"github.com/openkoo/connector/directory"
)

type tree struct {
	Departments int
	Roots       []branch
	Cut         int
}

type branch struct {
	OrgCode, OrgName string
	ParentMissing    bool
	Cut              int
	Children         []branch
}

func TestTheTreeHangsDepartmentsUnderTheirParents(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.push(acme, directory.FlagModify, &directory.FullPush{Departments: []directory.DepartmentItem{
		department("z", "末", ""), department("a", "总部 \"一\" <&>", ""), department("a1", "分部", "a"), department("a2", "分部二", "a"),
		department("a11", "小组", "a1"), department("lost", "待定", "not-there"),
	}})
	require.Equal(t, tree{Departments: 6, Roots: []branch{
		{OrgCode: "a", OrgName: "总部 \"一\" <&>", Children: []branch{
			{OrgCode: "a1", OrgName: "分部", Children: []branch{{OrgCode: "a11", OrgName: "小组"}}}, {OrgCode: "a2", OrgName: "分部二"},
		}},
		{OrgCode: "lost", OrgName: "待定", ParentMissing: true},
		{OrgCode: "z", OrgName: "末"},
	}}, read[tree](w, "/api/v1/departments/tree?tenantId=acme&instanceId=i-1"))
}

func TestAnEmptyTenantHasAnEmptyTree(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.push(acme, directory.FlagAdd, &directory.TenantPush{OrderID: "o", Code: "acme", Name: "企业", DomainName: "d"})
	require.JSONEq(t, `{"departments":0,"roots":[],"cut":0}`, w.call("GET", "/api/v1/departments/tree?tenantId=acme", "").Body.String())
}

// A tree as deep as it has departments neither recurses nor nests without end:
// what is left out is counted where it is left out.
func TestADeepTreeIsCutAndSaysSo(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	const depth = 5000
	full := &directory.FullPush{}
	for i := range depth {
		parent := ""
		if i > 0 {
			parent = fmt.Sprintf("d%05d", i-1)
		}
		full.Departments = append(full.Departments, department(fmt.Sprintf("d%05d", i), "部门", parent))
	}
	full.Departments = append(full.Departments, department("side", "旁", "d00000"))
	w.push(acme, directory.FlagModify, full)
	found := read[tree](w, "/api/v1/departments/tree?tenantId=acme")
	require.Equal(t, depth+1, found.Departments)
	require.Equal(t, depth-200, found.Cut)
	require.Len(t, found.Roots[0].Children, 2, "siblings of the deep branch are all there")
	shown, deepest := 0, branch{}
	var walk func(branches []branch)
	walk = func(branches []branch) {
		for _, b := range branches {
			shown++
			if b.Cut > 0 {
				deepest = b
			}
			walk(b.Children)
		}
	}
	walk(found.Roots)
	require.Equal(t, found.Departments, shown+found.Cut, "every department is shown or counted")
	require.Equal(t, "d00199", deepest.OrgCode)
	require.Equal(t, depth-200, deepest.Cut)
}

func TestATreeTooLargeToShowSaysWhereToLook(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(o *admin.Options) { o.MaxTree = 4 })
	w.bind(acme, 5)
	require.Equal(t, "5 departments are more than the 4 a tree shows; page through /api/v1/departments",
		w.problem(w.call("GET", "/api/v1/departments/tree?tenantId=acme", ""), http.StatusUnprocessableEntity))
	w.push(acme, directory.FlagDelete, &directory.DepartmentPush{DepartmentItem: department("d004", "", "")})
	require.Equal(t, 4, read[tree](w, "/api/v1/departments/tree?tenantId=acme").Departments)
}

func TestTheTreeIsReadInSeveralPages(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.push(acme, directory.FlagModify, chart(2345))
	found := read[tree](w, "/api/v1/departments/tree?tenantId=acme")
	require.Equal(t, 2345, found.Departments)
	require.Len(t, found.Roots, 1)
	require.Len(t, found.Roots[0].Children, 2344)
	text, err := json.Marshal(found)
	require.NoError(t, err)
	require.NotContains(t, string(text), `"Cut":1`)
}
