package fanout

import (
	"encoding/json"
	"slices"

	"github.com/openkoo/connector/storage"
	"github.com/openkoo/connector/target"
)

// places is what a placement's or membership's slot keeps as its hash: the
// groups the member is in, or may be in after an attempt whose answer was
// lost. Ids on both ends keep a membership from outliving either.
type places struct {
	Member string  `json:"member"` // its remote id
	In     []place `json:"in"`
}

// place is a group a member is in.
type place struct {
	Code  string `json:"code"`  // orgCode
	Group string `json:"group"` // remote id
}

func parsePlaces(hash string) places {
	var p places
	if hash == "" || json.Unmarshal([]byte(hash), &p) != nil {
		return places{}
	}
	return p
}

// valid are the places whose group and member are still the ones they were.
func (p places) valid(member target.Member, groups map[string]storage.Task) []place {
	if member.RemoteID == "" || p.Member != member.RemoteID {
		return nil
	}
	return slices.DeleteFunc(p.In, func(one place) bool {
		return one.Group == "" || groups[one.Code].RemoteID != one.Group
	})
}

// placed adds a place, once.
func placed(in []place, p place) []place {
	if slices.Contains(in, p) {
		return in
	}
	return append(slices.Clone(in), p)
}

// encodePlaces writes what parsePlaces reads; empty for none.
func encodePlaces(memberID string, in []place) string {
	if len(in) == 0 {
		return ""
	}
	text, err := json.Marshal(places{Member: memberID, In: in})
	if err != nil {
		panic("fanout: " + err.Error()) // strings always marshal
	}
	return string(text)
}
