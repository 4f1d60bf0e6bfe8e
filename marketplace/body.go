package marketplace

import (
	"errors"
	"fmt"
	"io"
	"net/http"

	"golang.org/x/sync/semaphore"

	"github.com/openkoo/connector/directory"
)

const (
	// firstRoom is what a body gets before it has shown its size, in bytes.
	firstRoom = 16 << 10
	// freeRoom is how large a body is before it counts against the room that
	// all share, in bytes. Pushes of single departments and users stay below.
	freeRoom = 1 << 20
)

// bodies reads the bodies of calls. Reading comes before the signature can be
// checked, so all large bodies share one room: strangers can fill it, and
// large pushes then have to be sent again, but they cannot fill the memory.
type bodies struct {
	limit int64 // of one body, in bytes
	size  int64 // of the room, in bytes
	room  *semaphore.Weighted
}

func newBodies(limit, size int64) *bodies {
	size = max(size, limit)
	return &bodies{limit: limit, size: size, room: semaphore.NewWeighted(size)}
}

// read reads a body and makes room as it comes: a length that is only declared
// allocates nothing. release gives the room back, also after an error.
func (b *bodies) read(limited io.Reader, declared int64) (body []byte, release func(), err error) {
	var held int64
	release = func() { b.room.Release(held) }
	body = make([]byte, 0, min(max(declared, 511)+1, firstRoom))
	for {
		n, err := limited.Read(body[len(body):cap(body)])
		body = body[:len(body)+n]
		switch {
		case err == io.EOF:
			return body, release, nil
		case err != nil:
			return nil, release, unreadable(err)
		case len(body) < cap(body):
			continue
		}
		room := 2 * cap(body)
		if declared >= int64(len(body)) {
			room = min(room, int(declared)+1) // one more, to see the end
		}
		if more := min(int64(room), b.limit) - held; room > freeRoom && more > 0 {
			if !b.room.TryAcquire(more) {
				return nil, release, fmt.Errorf("large bodies take up all of their %d bytes of room", b.size)
			}
			held += more
		}
		body = append(make([]byte, 0, room), body...)
	}
}

func unreadable(err error) error {
	if tooLarge, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return directory.Invalid("body", "larger than %d bytes", tooLarge.Limit)
	}
	return directory.Invalid("body", "cannot be read to its end")
}
