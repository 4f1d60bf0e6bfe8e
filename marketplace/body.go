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
	// freeRoom is what every body gets, in bytes. Pushes of single departments
	// and of some dozens of users need no more.
	freeRoom = 16 << 10
	// mediumRoom is how large a body is before it counts as large, in bytes. The
	// longest list of users stays below.
	mediumRoom = 1 << 20
)

// Room is what the bodies of all interfaces may take up at a time. Reading
// comes before the signature can be checked, so strangers can fill it, and
// those pushes then have to be sent again; but they cannot fill the memory.
// Bodies of medium size have a part of their own, a quarter more, so that large
// ones do not crowd them out.
type Room struct {
	large, medium part
}

// part is a part of the room, of so many bytes.
type part struct {
	what string
	size int64
	free *semaphore.Weighted
}

// NewRoom makes room for so many bytes of large bodies.
func NewRoom(size int64) *Room {
	quarter := max(size/4, mediumRoom)
	return &Room{
		large:  part{"large", size, semaphore.NewWeighted(size)},
		medium: part{"medium", quarter, semaphore.NewWeighted(quarter)},
	}
}

// bodies reads the bodies of calls.
type bodies struct {
	limit int64 // of one body, in bytes
	room  *Room
}

// place is what one body has of the room.
type place struct {
	in   *part
	size int64
}

func (p *place) release() {
	if p.in != nil {
		p.in.free.Release(p.size)
	}
	p.in, p.size = nil, 0
}

// grow makes the place one of size bytes.
func (p *place) grow(room *Room, size int64) error {
	in := &room.large
	switch {
	case size <= freeRoom:
		return nil
	case size <= mediumRoom:
		in = &room.medium
	}
	more := size
	if in == p.in {
		more -= p.size
	}
	if !in.free.TryAcquire(more) {
		return fmt.Errorf("%s bodies take up all of their %d bytes of room", in.what, in.size)
	}
	if in != p.in {
		p.release()
	}
	p.in, p.size = in, size
	return nil
}

// read reads a body and makes room as it comes: a length that is only declared
// allocates nothing. release gives the room back, also after an error.
func (b *bodies) read(limited io.Reader, declared int64) (body []byte, release func(), err error) {
	var place place
	body = make([]byte, 0, min(max(declared, 511)+1, freeRoom))
	for {
		n, err := limited.Read(body[len(body):cap(body)])
		body = body[:len(body)+n]
		switch {
		case err == io.EOF:
			return body, place.release, nil
		case err != nil:
			return nil, place.release, unreadable(err)
		case len(body) < cap(body):
			continue
		}
		size := b.next(int64(cap(body)), declared)
		if err := place.grow(b.room, min(size, b.limit)); err != nil {
			place.release()
			// One cut off while sending would not read the answer.
			_, _ = io.Copy(io.Discard, limited)
			return nil, place.release, err
		}
		body = append(make([]byte, 0, size), body...)
	}
}

// next is how much room comes after size bytes that are full. A length that was
// declared is believed as it comes true: the fewer the steps, the less that was
// copied lies about.
func (b *bodies) next(size, declared int64) int64 {
	next := 2 * size
	if declared >= size {
		next = min(4*size, declared)
	}
	return max(size, min(next, b.limit)) + 1 // one more, to see the end
}

func unreadable(err error) error {
	if tooLarge, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return directory.Invalid("body", "larger than %d bytes", tooLarge.Limit)
	}
	return directory.Invalid("body", "cannot be read to its end")
}
