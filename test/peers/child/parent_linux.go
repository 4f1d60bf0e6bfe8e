package child

import (
	"os/exec"
	"syscall"
)

// dieWithParent has the kernel kill the program when the test's process dies,
// even of SIGKILL or a time-out, when no cleanup runs.
func dieWithParent(command *exec.Cmd) {
	command.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}
