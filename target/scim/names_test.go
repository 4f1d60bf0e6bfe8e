package scim

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func TestNamesArePartedForServersThatWantBothParts(t *testing.T) {
	t.Parallel()
	for name, want := range map[string][2]string{
		"张三": {"张", "三"}, "王小明": {"王", "小明"}, "欧阳娜娜": {"欧阳", "娜娜"}, "欧阳": {"欧", "阳"}, "张": {"张", "张"},
		"Ada Lovelace": {"Lovelace", "Ada"}, "Juan Carlos Perez": {"Perez", "Juan Carlos"}, "Plato": {"Plato", "Plato"}, " 李 雷 ": {"李", "雷"}, "张 三": {"张", "三"}, "欧阳\u3000娜娜": {"欧阳", "娜娜"}, "张 三 丰": {"张", "三丰"}, "Ada 李": {"李", "Ada"}, "张三a": {"张三a", "张三a"},
	} {
		family, given := splitName(name)
		require.Equal(t, want, [2]string{family, given}, name)
	}
}

func TestNoPartOfANameIsEmpty(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		name := rapid.StringOf(rapid.SampledFrom([]rune("张三欧阳ab \u3000\t"))).Draw(t, "name")
		family, given := splitName(name)
		if strings.TrimSpace(name) != "" {
			require.NotEmpty(t, family)
			require.NotEmpty(t, given)
		}
	})
}
