package main

import (
	"fmt"
	"strconv"

	"github.com/openkoo/connector/directory"
)

// sampleCompany is an enterprise of some hundred departments and users, the
// same every time. One department's parent is not in the list, as in the
// marketplace's own example.
func sampleCompany() ([]directory.DepartmentItem, []directory.UserItem) {
	divisions := []string{"研发中心", "产品中心", "市场部", "销售部", "客户成功部", "财务部", "人力资源部", "供应链管理部"}
	cities := []string{"北京", "上海", "深圳", "杭州", "成都", "武汉"}
	teams := []string{"一组", "二组", "三组", "四组", "五组"}
	names := []string{"伟", "芳", "娜", "敏", "静", "磊", "洋", "艳", "勇", "杰"}
	families := []string{"王", "李", "张", "刘", "陈", "杨", "赵", "黄", "周", "吴"}

	departments := []directory.DepartmentItem{{Code: "1000", Name: "云启科技有限公司"}}
	var users []directory.UserItem
	add := func(code, name, parent string) {
		departments = append(departments, directory.DepartmentItem{Code: code, Name: name, ParentCode: parent})
	}
	for d, division := range divisions {
		divisionCode := strconv.Itoa(1100 + d*100)
		add(divisionCode, division, "1000")
		for c, city := range cities {
			cityCode := fmt.Sprintf("%s-%d", divisionCode, c+1)
			add(cityCode, city+division, divisionCode)
			for t, team := range teams {
				teamCode := fmt.Sprintf("%s-%d", cityCode, t+1)
				add(teamCode, city+team, cityCode)
				n := len(users)
				users = append(users, directory.UserItem{
					UserName: fmt.Sprintf("user%04d", n+1), Name: families[n%10] + names[n/10%10], OrgCode: teamCode,
					Role: "user", Enabled: true, EmployeeType: 1, EmployeeCode: fmt.Sprintf("E%05d", n+1),
				})
			}
		}
	}
	add("9001", "合资公司筹备组", "265789314")
	users[0].Role = "admin"
	return departments, users
}
