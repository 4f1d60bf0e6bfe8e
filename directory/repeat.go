package directory

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
)

// digestList names a department list that CheckList has sorted: two lists of
// one digest say the same. Every part is preceded by its length, so that none
// runs into the next.
func digestList(items []DepartmentItem) []byte {
	const flushAt = 32 << 10
	hash := sha256.New()
	buffer := make([]byte, 0, flushAt+1024)
	for i := range items {
		for _, part := range [...]string{items[i].Code, items[i].Name, items[i].ParentCode} {
			buffer = binary.AppendUvarint(buffer, uint64(len(part)))
			buffer = append(buffer, part...)
		}
		if len(buffer) >= flushAt {
			hash.Write(buffer)
			buffer = buffer[:0]
		}
	}
	hash.Write(buffer)
	return hash.Sum(nil)
}

// repeats reports whether a list is the one that the scope's departments were
// made from, with no change since: then nothing needs to be read to know that
// there is nothing to do.
func repeats(digest []byte, state *State) bool {
	return state.Hold == nil && len(state.FullDigest) > 0 && bytes.Equal(digest, state.FullDigest)
}
