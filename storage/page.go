package storage

import (
	"encoding/base64"
	"encoding/json"
)

// maxPage bounds the entries of a page.
const maxPage = 1000

// Size is how many entries the page may have: Limit within its bounds.
func (p Page) Size() int {
	if p.Limit <= 0 || p.Limit > maxPage {
		return maxPage
	}
	return p.Limit
}

// EncodeCursor makes the cursor behind a page's last entry, which the parts
// name. The parts must be valid UTF-8.
func EncodeCursor(parts ...string) string {
	text, err := json.Marshal(parts)
	if err != nil {
		panic("cursor: " + err.Error()) // strings always marshal
	}
	return base64.RawURLEncoding.EncodeToString(text)
}

// DecodeCursor reads a cursor of n parts; ErrBadCursor if it is none.
func DecodeCursor(cursor string, n int) ([]string, error) {
	text, err := base64.RawURLEncoding.DecodeString(cursor)
	if err != nil {
		return nil, ErrBadCursor
	}
	var parts []string
	if err := json.Unmarshal(text, &parts); err != nil || len(parts) != n {
		return nil, ErrBadCursor
	}
	return parts, nil
}
