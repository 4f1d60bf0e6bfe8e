package main

import (
	"bufio"
	"net"
	"sync"

	"github.com/FerretDB/wire"
)

// gate stands before FerretDB and lets one command at a time into a database.
//
// FerretDB 1.x finds the documents of an update first and writes them in a
// later step, so that two commands at once can both find the same state.
// MongoDB checks the filter and writes in one step for each document, and a
// compare-and-swap relies on it.
type gate struct {
	socket string

	mu        sync.Mutex
	databases map[string]*sync.Mutex
}

func newGate(socket string) *gate {
	return &gate{socket: socket, databases: make(map[string]*sync.Mutex)}
}

func (g *gate) serve(listener net.Listener) {
	for {
		client, err := listener.Accept()
		if err != nil {
			return
		}
		go g.connection(client)
	}
}

// connection passes a client's messages on, each with its answer.
func (g *gate) connection(client net.Conn) {
	defer func() { _ = client.Close() }()
	server, err := net.Dial("unix", g.socket)
	if err != nil {
		return
	}
	defer func() { _ = server.Close() }()
	fromClient, toClient := bufio.NewReader(client), bufio.NewWriter(client)
	fromServer, toServer := bufio.NewReader(server), bufio.NewWriter(server)
	for {
		header, body, err := wire.ReadMessage(fromClient)
		if err != nil {
			return
		}
		header, body, err = g.exchange(header, body, fromServer, toServer)
		if err != nil {
			return
		}
		if header == nil {
			continue
		}
		if wire.WriteMessage(toClient, header, body) != nil || toClient.Flush() != nil {
			return
		}
	}
}

// exchange sends a message and reads its answer, nil if there is to be none.
func (g *gate) exchange(header *wire.MsgHeader, body wire.MsgBody, from *bufio.Reader, to *bufio.Writer) (*wire.MsgHeader, wire.MsgBody, error) {
	message, ok := body.(*wire.OpMsg)
	if ok {
		door := g.door(databaseOf(message))
		door.Lock()
		defer door.Unlock()
		if body, statements := updates(message); body != nil {
			return split(header, body, statements, from, to)
		}
	}
	if err := wire.WriteMessage(to, header, body); err != nil {
		return nil, nil, err
	}
	if err := to.Flush(); err != nil {
		return nil, nil, err
	}
	if ok && message.Flags.FlagSet(wire.OpMsgMoreToCome) {
		return nil, nil, nil
	}
	return wire.ReadMessage(from)
}

func databaseOf(message *wire.OpMsg) string {
	document, err := message.RawSection0().Decode()
	if err != nil {
		return ""
	}
	name, _ := document.Get("$db").(string)
	return name
}

func (g *gate) door(database string) *sync.Mutex {
	g.mu.Lock()
	defer g.mu.Unlock()
	door, ok := g.databases[database]
	if !ok {
		door = new(sync.Mutex)
		g.databases[database] = door
	}
	return door
}
