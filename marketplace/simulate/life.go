package simulate

import (
	"fmt"
	"slices"

	"github.com/openkoo/connector/directory"
	"github.com/openkoo/connector/marketplace/client"
)

const (
	lifeName   = "life-%s"
	daysOfLife = 2 // the case that reports every day
)

// lives are the life of an enterprise: it binds the application, is edited for
// some days, and leaves.
func lives() chapter {
	return chapter{lifeName, []entry{
		{1, 0, "An enterprise orders, binds, and authorises its users", "§0", lifeBegins},
		{daysOfLife, 0, "Days of hiring, leaving, moving and renaming, with repeats and late pushes", "§0", lifeGoesOn},
		{3, 0, "The enterprise unbinds, and its instance is released", "§0", lifeEnds},
	}}
}

// life is an enterprise between two cases.
type life struct {
	*company
	scope  directory.Scope
	bought []string
	failed bool // to begin
	ended  bool
}

// begun is the life of the scene's generation: begun here, or by a case before.
func (s *scene) begun() *life {
	if l := s.lives[s.generation]; l != nil {
		s.scope = l.scope
		if l.failed {
			s.leaveOut("its beginning failed, see there")
		}
		return l
	}
	l := &life{company: newCompany(s.options.Life)}
	s.scope.InstanceID = s.options.InstanceID
	if s.ordersHere() {
		s.scope.InstanceID = s.buy("the instance is ordered", s.order())
	} else if s.scope.InstanceID == "" {
		s.scope.InstanceID = s.instance()
	}
	l.scope, l.bought = s.scope, s.bought
	s.bought = nil // released when the life ends
	s.lives[s.generation] = l
	s.push("the enterprise is bound", directory.FlagAdd, s.enterprise())
	if app := s.application(); app != nil {
		s.push("the application", directory.FlagAdd, app)
	}
	s.push(fmt.Sprintf("all %d departments", len(l.departments)), directory.FlagModify, l.list())
	for users := range slices.Chunk(l.users, directory.MaxUsers) {
		s.push(fmt.Sprintf("%d users are authorised", len(users)), directory.FlagAdd, authorised(users...))
	}
	l.failed = s.finding != nil
	return l
}

// ordersHere reports whether the life orders its instance itself.
func (s *scene) ordersHere() bool {
	return s.options.InstanceID == "" && s.plays("base-"+s.generation.String())
}

func lifeBegins(s *scene) { s.begun() }

func lifeGoesOn(s *scene) {
	l := s.begun()
	for day := 1; day <= s.options.Life.Days; day++ {
		s.day(l, fmt.Sprintf("day %d: ", day), day)
		s.options.Progress(1)
	}
}

// day is one day: the larger the enterprise, the more happens.
func (s *scene) day(l *life, when string, number int) {
	yesterday := s.tick() // what bears this time comes late
	for range 1 + len(l.users)/100 {
		s.push(when+"somebody is hired", directory.FlagAdd, authorised(l.hire()))
		if gone, ok := l.leave(); ok {
			s.push(when+"somebody leaves", directory.FlagDelete, authorised(gone))
		}
		s.push(when+"somebody changes the department", directory.FlagModify, authorised(l.transfer()))
	}
	for range 1 + len(l.departments)/50 {
		s.reorganise(l, when)
	}
	s.pause(l, when)
	s.push(when+"an old push comes late", directory.FlagModify,
		department(l.departments[0].Code, "旧名", ""), dated(yesterday), wants(NotIdempotent, codeSuccess))
	if number%7 == 0 || number == s.options.Life.Days {
		s.push(when+"all departments", directory.FlagModify, l.list())
		s.push(when+"all departments again", directory.FlagModify, l.list(), wants(NotIdempotent, codeSuccess))
	}
	if s.ordersHere() && number == (s.options.Life.Days+1)/2 {
		s.trade(l, when)
	}
}

// reorganise changes the tree of departments.
func (s *scene) reorganise(l *life, when string) {
	edit := func(what string, flag directory.Flag, d directory.DepartmentItem) {
		s.push(when+what, flag, &directory.DepartmentPush{DepartmentItem: d})
	}
	edit("a department is founded", directory.FlagAdd, l.found())
	edit("a department is renamed", directory.FlagModify, l.rename())
	if d, ok := l.move(); ok {
		edit("a department moves", directory.FlagModify, d)
	}
	if l.chance.IntN(2) == 0 {
		return
	}
	gone, users, ok := l.dissolve()
	if !ok {
		return
	}
	for some := range slices.Chunk(users, directory.MaxUsers) {
		s.push(when+"the users of a department move out", directory.FlagModify, authorised(some...))
	}
	edit("the department is dissolved", directory.FlagDelete, gone)
	s.push(when+"the department is dissolved, again", directory.FlagDelete, &directory.DepartmentPush{DepartmentItem: gone}, wants(DeleteNotIdempotent, codeSuccess))
}

// pause withdraws an authorisation and gives it back.
func (s *scene) pause(l *life, when string) {
	u := pick(l.company, l.users)
	s.push(when+"an authorisation is cancelled", directory.FlagCancel, authorised(u))
	s.push(when+"it is given again", directory.FlagAdd, authorised(u), wants(NotIdempotent, codeSuccess))
}

// trade is what happens to the instance in the middle of its life.
func (s *scene) trade(l *life, when string) {
	id := l.scope.InstanceID
	if s.generation == client.V1 {
		s.twice(when+"it is renewed", "refreshInstance", query(id).With("orderId", s.order().order).With("expireTime", "20991231235959"))
	} else {
		s.twice(when+"it is renewed", "refreshInstance", renewal(id, "RENEWAL", s.order()))
	}
	for _, freeze := range []bool{true, false} {
		activity, members := s.status(id, freeze)
		s.call(fmt.Sprintf("%sfreezing: %t", when, freeze), activity, members)
	}
	activity, members := s.upgrade(id, s.order())
	s.twice(when+"it is upgraded", activity, members)
}

func lifeEnds(s *scene) {
	l := s.begun()
	for users := range slices.Chunk(l.users, directory.MaxUsers) {
		s.push(fmt.Sprintf("%d users lose the authorisation", len(users)), directory.FlagCancel, authorised(users...))
	}
	s.push("the enterprise is deleted", directory.FlagDelete, s.enterprise())
	s.push("the enterprise is deleted again", directory.FlagDelete, s.enterprise(), wants(DeleteNotIdempotent, codeSuccess))
	for _, id := range l.bought {
		s.call("the instance is released", "releaseInstance", query(id))
		s.call("the instance is released again", "releaseInstance", query(id), wants(DeleteNotIdempotent, codeSuccess))
	}
	l.ended = !s.over()
}
