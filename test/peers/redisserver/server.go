// Package redisserver starts a private Redis server for tests: Debian's
// redis-server on a socket of its own, without persistence, so that what is
// killed comes back empty.
package redisserver

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"time"
)

// startTimeout is how long a server may take to answer.
const startTimeout = 10 * time.Second

// Server is a running server, or one that was killed.
type Server struct {
	// Socket is the path of the server's socket, URL names it as go-redis wants it.
	Socket, URL string

	dir string

	mu      sync.Mutex
	process *exec.Cmd
}

// Start starts a server. Stop it in the end.
func Start() (*Server, error) {
	dir, err := os.MkdirTemp("", "redis") // a socket's path must be short
	if err != nil {
		return nil, fmt.Errorf("redis-server: %w", err)
	}
	socket := filepath.Join(dir, "s")
	s := &Server{dir: dir, Socket: socket, URL: "unix://" + socket}
	if err := s.Restart(); err != nil {
		return nil, errors.Join(err, s.Stop())
	}
	return s, nil
}

// Restart starts a server that was killed, empty, and waits until it answers.
func (s *Server) Restart() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	path, err := exec.LookPath("redis-server")
	if err != nil {
		return fmt.Errorf("%w; install it with `apt-get install redis-server`, or run `make test`, which does", err)
	}
	s.process = exec.Command(path, "--port", "0", "--unixsocket", s.Socket, "--dir", s.dir, "--save", "", "--appendonly", "no", "--loglevel", "warning")
	s.process.Stderr = os.Stderr
	if err := s.process.Start(); err != nil {
		return fmt.Errorf("redis-server: %w", err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	for !s.answers() {
		select {
		case <-ctx.Done():
			return fmt.Errorf("redis-server does not answer after %s", startTimeout)
		case <-time.After(5 * time.Millisecond): // another process, which tells nobody
		}
	}
	return nil
}

// answers reports whether the server takes commands.
func (s *Server) answers() bool {
	connection, err := net.DialTimeout("unix", s.Socket, time.Second)
	if err != nil {
		return false
	}
	defer connection.Close()
	_ = connection.SetDeadline(time.Now().Add(time.Second))
	if _, err := connection.Write([]byte("PING\r\n")); err != nil {
		return false
	}
	answer := make([]byte, 5)
	_, err = io.ReadFull(connection, answer)
	return err == nil && string(answer) == "+PONG"
}

// Kill ends the server at once, with all it held.
func (s *Server) Kill() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.process == nil || s.process.Process == nil {
		return nil
	}
	if err := s.process.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("redis-server: %w", err)
	}
	_ = s.process.Wait() // it was killed, and says so
	s.process = nil
	return nil
}

// Stop kills the server and removes its files.
func (s *Server) Stop() error { return errors.Join(s.Kill(), os.RemoveAll(s.dir)) }
