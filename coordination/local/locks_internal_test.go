package local

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func closed(turn chan struct{}) bool {
	select {
	case <-turn:
		return true
	default:
		return false
	}
}

// TestTurnsComeInOrder, past those who gave up, and nothing is kept of a key
// that nobody wants.
func TestTurnsComeInOrder(t *testing.T) {
	t.Parallel()
	l := NewLocks(nil)
	require.Nil(t, l.enter("k"), "a free key is taken at once")
	turns := make([]chan struct{}, 5)
	for i := range turns {
		turns[i] = l.enter("k")
		require.NotNil(t, turns[i])
	}
	l.giveUp("k", turns[1])
	for _, i := range []int{0, 2, 3} {
		require.False(t, closed(turns[i]))
		l.pass("k")
		require.True(t, closed(turns[i]))
	}
	require.False(t, closed(turns[1]))
	l.pass("k")
	require.True(t, closed(turns[4]))
	l.giveUp("k", turns[4]) // its turn had come, and goes on
	require.Empty(t, l.held)
}
