package e2e

import (
	"os/exec"
	"regexp"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/openkoo/connector/test/peers/child"
	"github.com/openkoo/connector/test/program"
)

// The last line of the demo's table: its one target is up, nothing is pending,
// retried, waiting or dead.
var delivered = regexp.MustCompile(`demo-scim \(up\) +│ +0 │ +0 │ +0 │ +([1-9][0-9]*) │ +0 │`)

func TestTheDemoDeliversAllAndEnds(t *testing.T) {
	t.Parallel()
	path, err := program.Path()
	require.NoError(t, err)
	demo := child.Start(t, exec.Command(path, "demo", "--once"))
	_, err = demo.Await(delivered)
	require.NoError(t, err)
	select {
	case <-demo.Ended:
	case <-time.After(time.Minute):
		require.Fail(t, "the demo does not end", "%s", demo)
	}
	require.Contains(t, demo.String(), "Bye.")
}
