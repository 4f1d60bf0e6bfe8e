package admin

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestCell_IsNoFormula(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "＝1", "＋1", "－1", "＠SUM(A1)"} {
		require.Equal(t, "'"+text, cell(text))
	}
	for _, text := range []string{"", "总部", "a=1", "1-1", " x"} {
		require.Equal(t, text, cell(text))
	}
}
