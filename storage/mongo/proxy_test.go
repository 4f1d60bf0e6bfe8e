package mongo_test

import (
	"encoding/binary"
	"io"
	"net"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"go.mongodb.org/mongo-driver/v2/bson"
)

// command is a message on its way to the server.
type command struct {
	name string // "find", "update", …
	body bson.Raw
}

// on reports whether the command is for a collection.
func (c command) on(collection string) bool {
	name, ok := c.body.Lookup(c.name).StringValueOK()
	return ok && name == collection
}

// ours leaves out what the driver sends by itself.
func (c command) ours() bool { return c.name != "hello" && c.name != "ping" && c.name != "endSessions" }

// fault is what becomes of a command; the zero fault passes it on.
type fault struct {
	// loseRequest cuts the connection before the server hears, loseAnswer after
	// it has done the work, hang answers never.
	loseRequest, loseAnswer, hang bool
	// hold keeps the command back until the channel is closed.
	hold <-chan struct{}
	// code refuses the command with an error of the server.
	code    int32
	message string
}

// proxy stands between a store and the server and does harm.
type proxy struct {
	uri      string
	upstream string
	listener net.Listener
	closed   chan struct{}
	serving  sync.WaitGroup

	mu    sync.Mutex
	rule  func(command) fault
	conns map[net.Conn]bool
}

func newProxy(tb testing.TB) *proxy {
	tb.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(tb, err)
	p := &proxy{
		uri: "mongodb://" + listener.Addr().String() + "/", listener: listener, closed: make(chan struct{}), conns: make(map[net.Conn]bool),
		upstream: strings.TrimSuffix(strings.TrimPrefix(server().URI, "mongodb://"), "/"),
	}
	p.serving.Go(p.serve)
	tb.Cleanup(func() {
		close(p.closed)
		_ = listener.Close()
		p.cut()
		p.serving.Wait()
	})
	return p
}

// set makes a rule for all that comes; nil heals.
func (p *proxy) set(rule func(command) fault) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.rule = rule
}

// once applies a fault to the n-th of the commands that match, from now on, and
// says through hit when it did.
func (p *proxy) once(n int, does fault, match func(command) bool) (hit <-chan struct{}) {
	struck := make(chan struct{})
	seen := 0
	p.set(func(c command) fault {
		if !match(c) {
			return fault{}
		}
		if seen++; seen != n {
			return fault{}
		}
		close(struck)
		return does
	})
	return struck
}

// cut closes all connections.
func (p *proxy) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for conn := range p.conns {
		_ = conn.Close()
	}
}

func (p *proxy) keep(conn net.Conn) {
	p.mu.Lock()
	p.conns[conn] = true
	p.mu.Unlock()
}

func (p *proxy) decide(c command) fault {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.rule == nil {
		return fault{}
	}
	return p.rule(c)
}

func (p *proxy) serve() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		p.keep(client)
		p.serving.Go(func() {
			defer func() { _ = client.Close() }()
			server, err := net.Dial("tcp", p.upstream)
			if err != nil {
				return
			}
			defer func() { _ = server.Close() }()
			p.keep(server)
			for p.exchange(client, server) {
			}
		})
	}
}

const (
	headerSize = 16
	opMsg      = 2013
)

func readMessage(conn net.Conn) ([]byte, bool) {
	header := make([]byte, headerSize)
	if _, err := io.ReadFull(conn, header); err != nil {
		return nil, false
	}
	message := make([]byte, binary.LittleEndian.Uint32(header))
	copy(message, header)
	_, err := io.ReadFull(conn, message[headerSize:])
	return message, err == nil
}

// parse reads a message's command: flags, the kind 0 of the first section, then
// the document.
func parse(message []byte) (c command, ok bool) {
	if binary.LittleEndian.Uint32(message[12:]) != opMsg || len(message) < headerSize+10 {
		return c, false
	}
	body := message[headerSize+5:]
	c.body = bson.Raw(body[:binary.LittleEndian.Uint32(body)])
	elements, err := c.body.Elements()
	if err != nil || len(elements) == 0 {
		return c, false
	}
	c.name = elements[0].Key()
	return c, true
}

// exchange passes one command on, with its answer, and reports whether the
// connection goes on.
func (p *proxy) exchange(client, server net.Conn) bool {
	message, ok := readMessage(client)
	if !ok {
		return false
	}
	var does fault
	if c, ok := parse(message); ok {
		does = p.decide(c)
	}
	if does.hold != nil {
		select {
		case <-does.hold:
		case <-p.closed:
			return false
		}
	}
	switch {
	case does.loseRequest:
		return false
	case does.hang:
		_, _ = client.Read(make([]byte, 1)) // until the client gives up
		return false
	case does.code != 0:
		_, err := client.Write(refusal(message, does))
		return err == nil
	}
	if _, err := server.Write(message); err != nil {
		return false
	}
	answer, ok := readMessage(server)
	if !ok || does.loseAnswer {
		return false
	}
	_, err := client.Write(answer)
	return err == nil
}

// refusal is an answer that says no.
func refusal(request []byte, does fault) []byte {
	body, err := bson.Marshal(bson.D{{Key: "ok", Value: 0.0}, {Key: "errmsg", Value: does.message}, {Key: "code", Value: does.code}, {Key: "codeName", Value: "Refused"}})
	if err != nil {
		panic(err)
	}
	answer := make([]byte, headerSize+5, headerSize+5+len(body))
	answer = append(answer, body...)
	binary.LittleEndian.PutUint32(answer, uint32(len(answer)))
	copy(answer[8:12], request[4:8]) // responseTo
	binary.LittleEndian.PutUint32(answer[12:], opMsg)
	return answer
}
