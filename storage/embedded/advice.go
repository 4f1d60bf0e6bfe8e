package embedded

import (
	"errors"
	"fmt"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

// advice says what an operator can do about an error of SQLite, by its primary
// result code.
var advice = map[int]string{
	sqlite3.SQLITE_BUSY:     "another program has locked the database: end it",
	sqlite3.SQLITE_FULL:     "make room on the disk of the data directory",
	sqlite3.SQLITE_READONLY: "make the data directory writable",
	sqlite3.SQLITE_IOERR:    "look after the disk of the data directory",
	sqlite3.SQLITE_CORRUPT:  "the database file is damaged: stop the connector and restore the data directory from a backup",
}

// primary is the part of a result code that says what is wrong.
const primary = 0xff

// isCode reports whether SQLite failed with a primary result code.
func isCode(err error, code int) bool {
	failed, ok := errors.AsType[*sqlite.Error](err)
	return ok && failed.Code()&primary == code
}

// advised adds what to do to an error, if there is something.
func advised(err error) error {
	failed, ok := errors.AsType[*sqlite.Error](err)
	if !ok {
		return err
	}
	text, ok := advice[failed.Code()&primary]
	if !ok {
		return err
	}
	return fmt.Errorf("%w; %s", err, text)
}
