// Command orgsync is the production address of a seller on the marketplace,
// and the tools around it.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"
)

// exitInterrupted is the exit code of a command that a person stopped.
const exitInterrupted = 130

// patience is how long after a first signal a second one counts.
const patience = time.Second

// exitError ends the program with a code and no further word.
type exitError int

func (e exitError) Error() string { return fmt.Sprintf("exit code %d", int(e)) }

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	// A second Ctrl-C ends the program at once, but not the same one come
	// twice: some supervisors signal both the process and its group.
	context.AfterFunc(ctx, func() { time.AfterFunc(patience, stop) })
	err := rootCommand(os.Environ()).ExecuteContext(ctx)
	if code, ok := errors.AsType[exitError](err); ok {
		os.Exit(int(code))
	}
	if err != nil {
		fmt.Fprintln(&terminal{to: os.Stderr}, "Error:", err)
		os.Exit(1)
	}
}
