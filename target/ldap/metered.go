package ldap

import (
	"errors"
	"net"
	"sync/atomic"
)

// maxAnswer bounds what is read of a server for one operation, in bytes. The
// library keeps every entry of an answer, however many a server sends.
const maxAnswer = 64 << 20

var errTooMuch = errors.New("the answer is larger than 64 MiB")

// metered is a connection that reads so much and no more.
type metered struct {
	net.Conn
	left atomic.Int64
}

// allow sets what may be read from now on, in bytes.
func (m *metered) allow(n int64) { m.left.Store(n) }

// Read implements net.Conn.
func (m *metered) Read(b []byte) (int, error) {
	if m.left.Load() <= 0 {
		return 0, errTooMuch
	}
	n, err := m.Conn.Read(b)
	m.left.Add(-int64(n))
	return n, err
}
