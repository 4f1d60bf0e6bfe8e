package scim

import (
	"slices"
	"strings"
	"unicode"
)

// compound are the common family names of two characters.
var compound = []string{"欧阳", "上官", "司马", "诸葛", "夏侯", "皇甫", "尉迟", "公孙", "慕容", "令狐", "司徒", "东方", "独孤", "南宫", "长孙", "宇文"}

// SplitName parts a name as this configuration has it sent; false if the name
// goes whole.
func (c Config) SplitName(name string) (family, given string, split bool) {
	if c.Protocol.with(c.Protocol.Profile.of().Protocol).Names != NamesSplit {
		return "", "", false
	}
	family, given = splitName(name)
	return family, given, true
}

// splitName parts a name for servers that want both parts and take neither
// empty. A Chinese name begins with the family's: up to its first blank, or else
// one or two characters. Any other ends with it, after the last blank. A name
// that does not part stands for both. The marketplace has the whole alone
// (spec/marketplace.md §3.3).
func splitName(name string) (family, given string) {
	parts := strings.Fields(name)
	runes := []rune(strings.Join(parts, ""))
	chinese := !slices.ContainsFunc(runes, func(r rune) bool { return !unicode.Is(unicode.Han, r) })
	switch {
	case len(parts) > 1 && chinese:
		return parts[0], strings.Join(parts[1:], "")
	case len(parts) > 1:
		return parts[len(parts)-1], strings.Join(parts[:len(parts)-1], " ")
	case len(runes) < 2 || !chinese:
		name = strings.TrimSpace(name)
		return name, name
	}
	at := 1
	if len(runes) > 2 && slices.Contains(compound, string(runes[:2])) {
		at = 2
	}
	return string(runes[:at]), string(runes[at:])
}
