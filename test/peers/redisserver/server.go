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
const startTimeout = time.Minute

// Server is a running server, or one that was killed.
type Server struct {
	// Socket is the path of the server's socket; URL names it as a client
	// wants it.
	Socket, URL string

	tb      testing.TB
	dir     string
	process *child.Process
}

// URL is a server to share: the one that the environment names, or a new one.
func URL(tb testing.TB) string {
	tb.Helper()
	if url := os.Getenv(URLVariable); url != "" {
		return url
	}
	return Start(tb).URL
}

// Start starts a server that the test may do anything to. It ends with the test.
func Start(tb testing.TB) *Server {
	tb.Helper()
	dir, err := os.MkdirTemp("", "redis") //nolint:usetesting // a socket's path must be short, which TempDir's is not
	if err != nil {
		tb.Fatalf("redis-server: %v", err)
	}
	tb.Cleanup(func() { _ = os.RemoveAll(dir) })
	socket := filepath.Join(dir, "s")
	s := &Server{tb: tb, dir: dir, Socket: socket, URL: "unix://" + socket}
	s.Restart()
	return s
}

// Restart starts a server that was killed, empty, and waits until it answers.
func (s *Server) Restart() {
	s.tb.Helper()
	path, err := exec.LookPath("redis-server")
	if err != nil {
		s.tb.Fatalf("%v; install it with `apt-get install redis-server`, as `make test` does", err)
	}
	s.process = child.Start(s.tb, exec.CommandContext(context.Background(), path, "--port", "0", "--unixsocket", s.Socket, "--dir", s.dir, "--save", "", "--appendonly", "no"))
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	for !s.answers() {
		select {
		case <-s.process.Ended:
			s.tb.Fatalf("redis-server ended: %s", s.process)
		case <-ctx.Done():
			s.tb.Fatalf("redis-server does not answer after %s: %s", startTimeout, s.process)
		case <-time.After(5 * time.Millisecond): // another process, which tells nobody
		}
	}
}

// answers reports whether the server takes commands.
func (s *Server) answers() bool {
	dialer := net.Dialer{Timeout: time.Second}
	connection, err := dialer.DialContext(context.Background(), "unix", s.Socket)
	if err != nil {
		return false
	}
	defer func() { _ = connection.Close() }() // it has served its purpose
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
	s.tb.Helper()
	if err := s.process.Stop(syscall.SIGKILL); err != nil {
		s.tb.Fatal(err)
	}
}

// Freeze has the server answer nobody, with all connections open, until Thaw.
func (s *Server) Freeze() { s.signal(syscall.SIGSTOP) }

// Thaw has the server go on.
func (s *Server) Thaw() { s.signal(syscall.SIGCONT) }

func (s *Server) signal(signal syscall.Signal) {
	s.tb.Helper()
	if err := s.process.Signal(signal); err != nil {
		s.tb.Fatal(err)
	}
}
