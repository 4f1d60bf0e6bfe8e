// Package blob packs what a store keeps but never searches: the bodies of
// pushes and what was decided about each entity.
package blob

import (
	"bytes"
	"fmt"
	"sync"

	"github.com/klauspost/compress/zstd"
)

const (
	// window is how far back a blob refers, in bytes; maxWindow is how far one
	// that is read may.
	window    = 1 << 20
	maxWindow = 8 << 20
)

var (
	encoder = sync.OnceValue(func() *zstd.Encoder {
		e, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(window))
		if err != nil {
			panic("zstd: " + err.Error()) // constant options
		}
		return e
	})
	// decoders are used by one at a time.
	decoders = sync.Pool{New: func() any {
		d, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(maxWindow))
		if err != nil {
			panic("zstd: " + err.Error()) // constant options
		}
		return d
	}}
)

// Pack compresses; nothing packs to nothing.
func Pack(plain []byte) []byte {
	if len(plain) == 0 {
		return nil
	}
	return encoder().EncodeAll(plain, make([]byte, 0, len(plain)/4+64))
}

// Unpack reads what Pack wrote.
func Unpack(packed []byte) ([]byte, error) {
	if len(packed) == 0 {
		return nil, nil
	}
	d := decoders.Get().(*zstd.Decoder) //nolint:forcetypeassert // nothing else is put there
	defer func() {
		_ = d.Reset(nil) // it must not keep the blob
		decoders.Put(d)
	}()
	// Piece by piece: how long a damaged one says that it is, is not to be
	// believed.
	if err := d.Reset(bytes.NewReader(packed)); err != nil {
		return nil, fmt.Errorf("stored blob: %w", err)
	}
	plain := bytes.NewBuffer(make([]byte, 0, 4*len(packed)))
	if _, err := d.WriteTo(plain); err != nil {
		return nil, fmt.Errorf("stored blob: %w", err)
	}
	return plain.Bytes(), nil
}
