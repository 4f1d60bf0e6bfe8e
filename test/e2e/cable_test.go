package e2e

import (
	"net"
	"net/url"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// cable is the way to a server, which can be cut and blocked.
type cable struct {
	listener net.Listener
	server   string

	mu      sync.Mutex
	cut     bool
	flowing chan struct{} // closed while data flows
	ends    map[net.Conn]struct{}
	ended   bool
	running sync.WaitGroup
}

// newCable lays a cable to the server of a URI and returns the URI of its
// near end.
func newCable(t *testing.T, uri string) (*cable, string) {
	t.Helper()
	address, err := url.Parse(uri)
	require.NoError(t, err)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	c := &cable{listener: listener, server: address.Host, flowing: make(chan struct{}), ends: make(map[net.Conn]struct{})}
	close(c.flowing)
	c.running.Go(c.accept)
	t.Cleanup(c.end)
	address.Host = listener.Addr().String()
	return c, address.String()
}

func (c *cable) accept() {
	for {
		near, err := c.listener.Accept()
		if err != nil {
			return
		}
		far, err := net.Dial("tcp", c.server)
		if err != nil || !c.keep(near, far) {
			_ = near.Close()
			continue
		}
		c.running.Go(func() { c.pass(near, far) })
		c.running.Go(func() { c.pass(far, near) })
	}
}

// keep notes the ends of a connection, unless it is not to be.
func (c *cable) keep(near, far net.Conn) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cut || c.ended {
		_ = far.Close()
		return false
	}
	c.ends[near], c.ends[far] = struct{}{}, struct{}{}
	return true
}

// pass carries what comes from one end to the other, while data flows.
func (c *cable) pass(from, to net.Conn) {
	defer func() {
		_, _ = from.Close(), to.Close()
		c.mu.Lock()
		delete(c.ends, from)
		c.mu.Unlock()
	}()
	part := make([]byte, 32<<10)
	for {
		n, err := from.Read(part)
		c.mu.Lock()
		flowing := c.flowing
		c.mu.Unlock()
		<-flowing
		if n > 0 {
			if _, err := to.Write(part[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// block lets nothing pass any more, as a network does that loses everything.
func (c *cable) block() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.flowing = make(chan struct{})
}

// sever cuts every connection, and those to come.
func (c *cable) sever() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.cut = true
	for end := range c.ends {
		_ = end.Close()
	}
}

// heal lets everything pass again.
func (c *cable) heal() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.cut = false
	select {
	case <-c.flowing:
	default:
		close(c.flowing)
	}
}

func (c *cable) end() {
	_ = c.listener.Close()
	c.heal()
	c.mu.Lock()
	c.ended = true
	for end := range c.ends {
		_ = end.Close()
	}
	c.mu.Unlock()
	c.running.Wait()
}
