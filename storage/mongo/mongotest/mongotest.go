// Package mongotest starts a server that speaks MongoDB's protocol, for tests:
// the one ORGSYNC_TEST_MONGO_URI names, or else test/peers/mongowire, which it
// builds.
package mongotest

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
)

// Server is a running server.
type Server struct {
	// URI is where it listens.
	URI string

	command *exec.Cmd
	hold    io.Closer // its standard input: it ends when that is closed
	dir     string
}

// Start starts a server, or finds the one the environment names.
func Start(ctx context.Context) (*Server, error) {
	if uri := os.Getenv("ORGSYNC_TEST_MONGO_URI"); uri != "" {
		return &Server{URI: uri}, nil
	}
	dir, err := os.MkdirTemp("", "mongotest")
	if err != nil {
		return nil, fmt.Errorf("start mongowire: %w", err)
	}
	s := &Server{dir: dir}
	if err := s.start(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("start mongowire: %w", err), s.Stop())
	}
	return s, nil
}

func (s *Server) start(ctx context.Context) error {
	// Asked of the tool: a binary built with -trimpath does not know.
	module, err := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}", "github.com/openkoo/connector").Output()
	if err != nil {
		return fmt.Errorf("find the module's directory: %w", err)
	}
	program := filepath.Join(s.dir, "mongowire")
	build := exec.CommandContext(ctx, "go", "build", "-tags", "ferretdb_no_postgresql", "-o", program, ".")
	build.Dir = filepath.Join(strings.TrimSpace(string(module)), "test", "peers", "mongowire")
	build.Env = append(os.Environ(), "GOFLAGS=", "GOWORK=off")
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("build: %w: %s", err, out)
	}
	s.command = exec.Command(program)
	s.command.Stderr = os.Stderr
	in, err := s.command.StdinPipe()
	if err != nil {
		return err
	}
	s.hold = in
	out, err := s.command.StdoutPipe()
	if err != nil {
		return err
	}
	if err := s.command.Start(); err != nil {
		return err
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		return fmt.Errorf("it said nothing: %w", err)
	}
	s.URI = strings.TrimSpace(line)
	return nil
}

// Drop removes a database.
func (s *Server) Drop(ctx context.Context, database string) error {
	client, err := mongo.Connect(options.Client().ApplyURI(s.URI))
	if err != nil {
		return fmt.Errorf("drop database %s: %w", database, err)
	}
	return errors.Join(client.Database(database).Drop(ctx), client.Disconnect(ctx))
}

// Stop ends a server that Start started.
func (s *Server) Stop() error {
	var errs []error
	if s.hold != nil {
		errs = append(errs, s.hold.Close())
	}
	if s.command != nil && s.command.Process != nil {
		errs = append(errs, s.command.Wait())
	}
	if s.dir != "" {
		errs = append(errs, os.RemoveAll(s.dir))
	}
	return errors.Join(errs...)
}
