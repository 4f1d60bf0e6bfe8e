// Package blob packs what a store keeps but never searches: the bodies of
// pushes and what was decided about each entity.
package blob

import (
	"fmt"
	"sync"

	"github.com/klauspost/compress/zstd"
)

var (
	encoder = sync.OnceValue(func() *zstd.Encoder {
		e, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(1<<20))
		if err != nil {
			panic("zstd: " + err.Error()) // constant options
		}
		return e
	})
	decoder = sync.OnceValue(func() *zstd.Decoder {
		d, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1))
		if err != nil {
			panic("zstd: " + err.Error()) // constant options
		}
		return d
	})
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
	plain, err := decoder().DecodeAll(packed, nil)
	if err != nil {
		return nil, fmt.Errorf("stored blob: %w", err)
	}
	return plain, nil
}
