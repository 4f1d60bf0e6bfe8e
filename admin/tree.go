package admin

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"

	"github.com/gin-gonic/gin"

	"github.com/openkoo/connector/directory"
	"github.com/openkoo/connector/storage"
)

// maxTreeDepth bounds the levels of the answer: readers of JSON give up on
// deep nesting. What hangs deeper is counted, and left to the flat list.
const maxTreeDepth = 200

// node is a department in the tree, less its children.
type node struct {
	Code          string `json:"orgCode"`
	Name          string `json:"orgName"`
	ParentMissing bool   `json:"parentMissing,omitempty"`
	// Cut counts the departments below that are left out.
	Cut int `json:"cut,omitempty"`
}

func (a *API) tree(c *gin.Context) {
	state, err := a.oneScope(c)
	if err != nil {
		fail(c, err)
		return
	}
	if state.Departments > a.MaxTree {
		fail(c, &tooLargeError{fmt.Sprintf("%d departments are more than the %d a tree shows; page through /api/v1/departments", state.Departments, a.MaxTree)})
		return
	}
	scope := state.Scope
	filter := storage.EntityFilter{Dataset: scope.Dataset, InstanceID: &scope.InstanceID, TenantID: scope.TenantID}
	all := make([]directory.Department, 0, state.Departments)
	for p := (storage.Page{Limit: maxLimit}); ; {
		part, cursor, err := a.Reader.Departments(c.Request.Context(), filter, p)
		if err != nil {
			fail(c, err)
			return
		}
		for i := range part {
			all = append(all, part[i].Entity)
		}
		if cursor == "" {
			break
		}
		p.Cursor = cursor
	}
	c.Header("Content-Type", "application/json; charset=utf-8")
	c.Status(http.StatusOK)
	w := bufio.NewWriter(c.Writer)
	fmt.Fprintf(w, `{"departments":%d,"roots":[`, len(all))
	cut := writeTree(w, directory.Tree(all))
	fmt.Fprintf(w, `],"cut":%d}`, cut)
	_ = w.Flush() // a caller that hung up is no fault of ours
}

// level is a list of siblings that is being written.
type level struct {
	siblings []*directory.Node
	next     int
}

// writeTree writes a list of nodes with all below them, but for what is deeper
// than maxTreeDepth: that it counts. It does not recurse, for a tenant's tree
// may be as deep as it has departments.
func writeTree(w *bufio.Writer, roots []*directory.Node) (cut int) {
	levels := []level{{siblings: roots}}
	for {
		top := &levels[len(levels)-1]
		if top.next == len(top.siblings) {
			if levels = levels[:len(levels)-1]; len(levels) == 0 {
				return cut
			}
			_, _ = w.WriteString("]}")
			continue
		}
		n := top.siblings[top.next]
		if top.next++; top.next > 1 {
			_ = w.WriteByte(',')
		}
		shown := node{Code: n.Code, Name: n.Name, ParentMissing: n.ParentMissing}
		children := n.Children
		if len(levels) == maxTreeDepth {
			shown.Cut, children = below(n), nil
			cut += shown.Cut
		}
		text, _ := json.Marshal(shown) //nolint:errchkjson // text, numbers and booleans always marshal
		if len(children) == 0 {
			_, _ = w.Write(text)
			continue
		}
		_, _ = w.Write(text[:len(text)-1])
		_, _ = w.WriteString(`,"children":[`)
		levels = append(levels, level{siblings: children})
	}
}

// below counts what hangs under a node.
func below(n *directory.Node) (count int) {
	for open := slices.Clone(n.Children); len(open) > 0; count++ {
		last := open[len(open)-1]
		open = append(open[:len(open)-1], last.Children...)
	}
	return count
}
