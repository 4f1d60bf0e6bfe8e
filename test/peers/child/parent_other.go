//go:build !linux

package child

import "os/exec"

// dieWithParent is left to the test's cleanup: only Linux has the means.
func dieWithParent(*exec.Cmd) {}
