package scim

import (
	"slices"
	"strings"
	"unicode"
)

// compound are the common family names of two characters.
var compound = []string{"欧阳", "上官", "司马", "诸葛", "夏侯", "皇甫", "尉迟", "公孙", "慕容", "令狐", "司徒", "东方", "独孤", "南宫", "长孙", "宇文"}

// splitName parts a name for servers that want both parts and take neither
// empty. A Chinese name begins with the family's, one or two characters; any
// other ends with it, after the last blank. A name that does not part stands
// for both. The marketplace has the whole alone (spec/marketplace.md §3.3).
func splitName(name string) (family, given string) {
	name = strings.TrimSpace(name)
	if at := strings.LastIndexFunc(name, unicode.IsSpace); at > 0 {
		return strings.TrimSpace(name[at:]), strings.TrimSpace(name[:at])
	}
	runes := []rune(name)
	if len(runes) < 2 || slices.ContainsFunc(runes, func(r rune) bool { return !unicode.Is(unicode.Han, r) }) {
		return name, name
	}
	at := 1
	if len(runes) > 2 && slices.Contains(compound, string(runes[:2])) {
		at = 2
	}
	return string(runes[:at]), string(runes[at:])
}
