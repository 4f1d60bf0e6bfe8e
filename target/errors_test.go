package target_test

import (
	"errors"
	"fmt"
	"io"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/openkoo/connector/target"
)

func TestAnErrorTellsWhatFailedHowAndWhy(t *testing.T) {
	t.Parallel()
	err := &target.Error{Class: target.Transient, Op: "create group", Status: 503, Detail: "try later", Err: io.ErrUnexpectedEOF}
	require.Equal(t, "create group: transient: status 503: try later: unexpected EOF", err.Error())
	require.Equal(t, "delete user: gone", (&target.Error{Class: target.Gone, Op: "delete user"}).Error())
	require.ErrorIs(t, err, io.ErrUnexpectedEOF)
}

func TestTheClassIsFoundThroughWrapping(t *testing.T) {
	t.Parallel()
	err := fmt.Errorf("round: %w", &target.Error{Class: target.Conflict})
	require.Equal(t, target.Conflict, target.ClassOf(err))
	require.Equal(t, target.Transient, target.ClassOf(errors.New("of no class")), "what loses nothing")
}
