package storage

import (
	"crypto/rand"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// ErrFeedSetBack means that the change feed is no longer the one a place was
// given in: a backup was restored, or it is another installation's. What is
// after the place then is not all that the reader lacks.
var ErrFeedSetBack = errors.New("the change feed was set back since (a backup was restored), or is another one; read it anew from after=0")

// Place is where a reader stands in the change feed. The zero Place is before
// all changes.
type Place struct {
	// Seq is the number of the newest change that was read.
	Seq int64
	// Epoch is the part of the feed's life in which the place was given, empty
	// if that is not known. Each process begins an epoch with the first change it
	// numbers, so that a feed restored from a backup never passes for the one
	// that went on.
	Epoch string
}

// String writes a place as readers keep it; ParsePlace reads it.
func (p Place) String() string {
	number := strconv.FormatInt(p.Seq, 10)
	if p.Epoch == "" {
		return number
	}
	return number + "." + p.Epoch
}

// ParsePlace reads what Place.String wrote, or a number alone.
func ParsePlace(text string) (Place, error) {
	number, epoch, _ := strings.Cut(text, ".")
	seq, err := strconv.ParseInt(number, 10, 64)
	if err != nil || seq < 0 || len(epoch) > maxEpoch {
		return Place{}, fmt.Errorf("%.40q: no place in the change feed", text)
	}
	return Place{Seq: seq, Epoch: epoch}, nil
}

const maxEpoch = 64 // characters; ours have 26

// NewEpoch names a new epoch of the feed.
func NewEpoch() string { return rand.Text() }
