// Package redisserver starts a private Redis server for tests: Debian's
// redis-server on a socket of its own, without persistence, so that one that
// was killed comes back empty.
package redisserver

import (
	"context"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/openkoo/connector/test/peers/child"
)

// URLVariable names a server for the tests that neither kill nor wipe theirs.
const URLVariable = "ORGSYNC_TEST_REDIS_URL"

// startTimeout is how long a server may take to answer.
const startTimeout = 10 * time.Second

// Server is a running server, or one that was killed.
type Server struct {
	// Socket is the path of the server's socket; URL names it as a client
	// wants it.
	Socket, URL string

	t       testing.TB
	dir     string
	process *child.Process
}

// URL is a server to share: the one that the environment names, or a new one.
func URL(t testing.TB) string {
	t.Helper()
	if url := os.Getenv(URLVariable); url != "" {
		return url
	}
	return Start(t).URL
}

// Start starts a server that the test may do anything to. It ends with the test.
func Start(t testing.TB) *Server {
	t.Helper()
	dir, err := os.MkdirTemp("", "redis") // a socket's path must be short
	if err != nil {
		t.Fatalf("redis-server: %v", err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	socket := filepath.Join(dir, "s")
	s := &Server{t: t, dir: dir, Socket: socket, URL: "unix://" + socket}
	s.Restart()
	return s
}

// Restart starts a server that was killed, empty, and waits until it answers.
func (s *Server) Restart() {
	s.t.Helper()
	path, err := exec.LookPath("redis-server")
	if err != nil {
		s.t.Fatalf("%v; install it with `apt-get install redis-server`, as `make test` does", err)
	}
	s.process = child.Start(s.t, exec.Command(path, "--port", "0", "--unixsocket", s.Socket, "--dir", s.dir, "--save", "", "--appendonly", "no"))
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	for !s.answers() {
		select {
		case <-s.process.Ended:
			s.t.Fatalf("redis-server ended: %s", s.process)
		case <-ctx.Done():
			s.t.Fatalf("redis-server does not answer after %s: %s", startTimeout, s.process)
		case <-time.After(5 * time.Millisecond): // another process, which tells nobody
		}
	}
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
func (s *Server) Kill() {
	s.t.Helper()
	if err := s.process.Stop(syscall.SIGKILL); err != nil {
		s.t.Fatal(err)
	}
}
