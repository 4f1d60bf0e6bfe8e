// Package child runs the programs that tests need beside them, and sees to it
// that none outlives the test.
package child

import (
	"bytes"
	"fmt"
	"os/exec"
	"regexp"
	"sync"
	"syscall"
	"testing"
	"time"
)

// readyWithin bounds the wait for a program to say what is waited for.
const readyWithin = 2 * time.Minute

// stopsWithin bounds how long a program may take to end when told to.
const stopsWithin = 2 * time.Minute

// Process is a running program.
type Process struct {
	// Ended is closed when the program has ended.
	Ended <-chan struct{}

	command *exec.Cmd
	mu      sync.Mutex
	text    bytes.Buffer
	grown   chan struct{}
}

// Start runs a command. It is killed when the test ends, and with the test's
// own process, however that ends.
func Start(t testing.TB, command *exec.Cmd) *Process {
	t.Helper()
	ended := make(chan struct{})
	p := &Process{Ended: ended, command: command, grown: make(chan struct{})}
	command.Stdout, command.Stderr = p, p
	dieWithParent(command)
	if err := command.Start(); err != nil {
		t.Fatalf("start %s: %v", command.Path, err)
	}
	go func() {
		_ = command.Wait() // Code and what it printed tell how it ended
		close(ended)
	}()
	t.Cleanup(func() {
		_ = command.Process.Kill() // it may have ended by itself
		<-ended
	})
	return p
}

// Write gathers what the program prints.
func (p *Process) Write(text []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	close(p.grown)
	p.grown = make(chan struct{})
	return p.text.Write(text)
}

// String is all that the program has printed.
func (p *Process) String() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.text.String()
}

// Code waits until the program has ended, and is its exit code: below zero if a
// signal ended it.
func (p *Process) Code() int {
	<-p.Ended
	return p.command.ProcessState.ExitCode()
}

// Await waits until the program prints what matches, and returns the pattern's
// first group.
func (p *Process) Await(pattern *regexp.Regexp) (string, error) {
	deadline := time.After(readyWithin)
	for {
		p.mu.Lock()
		grown, text := p.grown, p.text.String()
		p.mu.Unlock()
		if match := pattern.FindStringSubmatch(text); match != nil {
			return match[1], nil
		}
		select {
		case <-grown:
		case <-p.Ended:
			return "", fmt.Errorf("%s ended before it printed %s:\n%s", p.command.Path, pattern, p)
		case <-deadline:
			return "", fmt.Errorf("%s printed no %s within %s:\n%s", p.command.Path, pattern, readyWithin, p)
		}
	}
}

// Signal sends a signal and does not wait for what comes of it.
func (p *Process) Signal(signal syscall.Signal) error {
	if err := p.command.Process.Signal(signal); err != nil {
		return fmt.Errorf("send %s to %s: %w", signal, p.command.Path, err)
	}
	return nil
}

// Stop sends a signal and waits for the program to end.
func (p *Process) Stop(signal syscall.Signal) error {
	if err := p.Signal(signal); err != nil {
		return err
	}
	select {
	case <-p.Ended:
		return nil
	case <-time.After(stopsWithin):
		return fmt.Errorf("%s did not end within %s of %s:\n%s", p.command.Path, stopsWithin, signal, p)
	}
}
