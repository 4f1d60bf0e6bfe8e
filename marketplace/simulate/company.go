package simulate

import (
	"fmt"
	"math/rand/v2"
	"slices"

	"github.com/openkoo/connector/directory"
)

// company is an enterprise that changes by chance, the same for the same seed.
// Departments stand behind their parents, so that no move makes a cycle.
type company struct {
	chance      *rand.Rand
	departments []directory.DepartmentItem
	users       []directory.UserItem
	founded     int // departments, ever
	hired       int // users, ever
}

var (
	families  = []string{"王", "李", "张", "刘", "陈", "杨", "赵", "黄", "周", "吴", "欧阳", "诸葛"}
	givens    = []string{"伟", "芳", "娜", "敏", "静", "磊", "洋", "艳", "勇", "杰", "子涵", "Söhne"}
	divisions = []string{"研发部", "产品部", "市场部", "销售部", "财务部", "人力资源部", "R&D <实验室>", "客户成功部"}
)

func newCompany(size Life) *company {
	c := &company{chance: rand.New(rand.NewPCG(size.Seed, 0))}
	for range size.Departments {
		c.found()
	}
	for range size.Users {
		c.hire()
	}
	return c
}

func pick[T any](c *company, of []T) T { return of[c.chance.IntN(len(of))] }

// found adds a department: the first at the top, the others somewhere below.
func (c *company) found() directory.DepartmentItem {
	d := directory.DepartmentItem{Code: fmt.Sprintf("d%05d", c.founded), Name: fmt.Sprintf("%s%d", pick(c, divisions), c.founded)}
	if len(c.departments) > 0 {
		d.ParentCode = pick(c, c.departments).Code
	}
	c.founded++
	c.departments = append(c.departments, d)
	return d
}

// hire adds a user to some department.
func (c *company) hire() directory.UserItem {
	u := employee(c.hired)
	u.Name, u.OrgCode = pick(c, families)+pick(c, givens), pick(c, c.departments).Code
	c.hired++
	c.users = append(c.users, u)
	return u
}

// rename gives a department another name.
func (c *company) rename() directory.DepartmentItem {
	d := &c.departments[c.chance.IntN(len(c.departments))]
	d.Name = pick(c, divisions) + "（新）" + d.Code
	return *d
}

// move hangs a department below another that stands before it; the first
// stays at the top.
func (c *company) move() (directory.DepartmentItem, bool) {
	if len(c.departments) < 2 {
		return directory.DepartmentItem{}, false
	}
	i := 1 + c.chance.IntN(len(c.departments)-1)
	c.departments[i].ParentCode = c.departments[c.chance.IntN(i)].Code
	return c.departments[i], true
}

// leave takes a user away.
func (c *company) leave() (directory.UserItem, bool) {
	if len(c.users) < 2 {
		return directory.UserItem{}, false
	}
	i := c.chance.IntN(len(c.users))
	u := c.users[i]
	c.users = slices.Delete(c.users, i, i+1)
	return u, true
}

// transfer moves a user to another department.
func (c *company) transfer() directory.UserItem {
	u := &c.users[c.chance.IntN(len(c.users))]
	u.OrgCode = pick(c, c.departments).Code
	return *u
}

// dissolve closes the youngest department, if nothing hangs below it; its
// users go to the first.
func (c *company) dissolve() (gone directory.DepartmentItem, users []directory.UserItem, ok bool) {
	if len(c.departments) < 2 {
		return gone, nil, false
	}
	last := len(c.departments) - 1
	gone = c.departments[last]
	c.departments = c.departments[:last]
	for i := range c.users {
		if c.users[i].OrgCode == gone.Code {
			c.users[i].OrgCode = c.departments[0].Code
			users = append(users, c.users[i])
		}
	}
	return gone, users, true
}

// list is the whole list of departments, in an order of its own.
func (c *company) list() *directory.FullPush {
	all := slices.Clone(c.departments)
	c.chance.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	return &directory.FullPush{Departments: all}
}
