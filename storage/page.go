package storage

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"strconv"

	"github.com/openkoo/connector/directory"
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

// DecodeDecisions reads a page of a push's decisions, which are kept as one JSON
// array, empty for none. It decodes those of the page alone.
func DecodeDecisions(text []byte, page Page) (decisions []directory.Decision, next string, err error) {
	from := 0
	if page.Cursor != "" {
		parts, err := DecodeCursor(page.Cursor, 1)
		if err != nil {
			return nil, "", err
		}
		if from, err = strconv.Atoi(parts[0]); err != nil || from < 0 {
			return nil, "", ErrBadCursor
		}
	}
	if len(text) == 0 {
		return nil, "", nil
	}
	reader := json.NewDecoder(bytes.NewReader(text))
	if _, err := reader.Token(); err != nil { // the array's beginning
		return nil, "", err
	}
	var passed json.RawMessage
	for n := 0; reader.More(); n++ {
		switch {
		case n < from:
			err = reader.Decode(&passed)
		case n == from+page.Size():
			return decisions, EncodeCursor(strconv.Itoa(n)), nil
		default:
			var one directory.Decision
			err = reader.Decode(&one)
			decisions = append(decisions, one)
		}
		if err != nil {
			return nil, "", err
		}
	}
	return decisions, "", nil
}
