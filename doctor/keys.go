package doctor

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"strings"
	"unicode"
	"unicode/utf8"
)

// KeyFile is a file that holds a secret.
type KeyFile struct {
	Path string
	// Required says that serving needs it. It is made on first start.
	Required bool
}

// Keys is what the keys are judged by.
type Keys struct {
	// Files are those of the data directory, and the private key's.
	Files []KeyFile
	// AccessKeys are those of the kit and of the base interface.
	AccessKeys []string
	// Faults say what cannot be read or has the wrong form.
	Faults []error
	// Fresh says that the store is not there yet: keys may still be made.
	Fresh bool
}

// strongKey is how long an access key should be, in characters.
const strongKey = 20

const makeKeys = "Run `orgsync keys`: it makes those that are missing, and shows what to paste into the seller console."

// CheckKeys looks whether the keys are there, well formed, and readable by
// their owner alone.
func CheckKeys(k Keys) Check {
	return Check{Name: "keys", Run: func(_ context.Context, notes *Notes) {
		for _, fault := range k.Faults {
			notes.Problemf("Restore the file from your backup, or give the key in the configuration (docs/configuration.md).", "%s", fault)
		}
		var missing []string
		for _, file := range k.Files {
			if !judgeFile(file.Path, notes) && file.Required {
				missing = append(missing, file.Path)
			}
		}
		k.missing(missing, notes)
		for i, key := range k.AccessKeys {
			if strange(key) {
				notes.Warnf("Compare it with the seller console's, character by character; quotes and spaces of a shell or a YAML file do not belong to it.",
					"access key %d holds quotes, white space or characters that no console makes", i+1)
			} else if n := utf8.RuneCountInString(key); n < strongKey {
				notes.Warnf("Give the console a longer one, of letters and digits drawn at random, and this connector both until all products have it.",
					"access key %d has %d characters; every answer of a V1 call is signed with it, so that fewer than %d can be guessed at leisure", i+1, n, strongKey)
			}
		}
		if !notes.unwell() {
			notes.OKf("there, well formed, readable by their owner alone")
		}
	}}
}

// judgeFile notes who may read a file, and reports whether it is there.
func judgeFile(path string, notes *Notes) bool {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return false
	case err != nil:
		notes.Problemf("Let the user that runs orgsync read it.", "%s", err)
	case info.Mode().Perm()&0o077 != 0:
		notes.Warnf("chmod 600 "+path, "%s may be read by others (mode %04o)", path, info.Mode().Perm())
	}
	return true
}

func (k Keys) missing(paths []string, notes *Notes) {
	switch {
	case len(paths) == 0:
	case k.Fresh:
		notes.Warnf(makeKeys, "not there yet: %s", strings.Join(paths, ", "))
	default:
		notes.Problemf("Restore from your backup: a new one would not fit what the store and the seller console have.",
			"missing, and the store is there: %s", strings.Join(paths, ", "))
	}
}

// strange reports what was hardly meant to be part of a key.
func strange(key string) bool {
	return strings.ContainsFunc(key, func(r rune) bool {
		return r == '"' || r == '\'' || r == '`' || r > unicode.MaxASCII || unicode.IsSpace(r) || unicode.IsControl(r)
	})
}

// Opener opens sealed secrets.
type Opener interface {
	Open(sealed []byte, purpose string) ([]byte, error)
}

// opens notes whether the configured encryption keys open what a store keeps.
func opens(opener Opener, sealed [][]byte, purpose string, notes *Notes) {
	if opener == nil || len(sealed) == 0 {
		return
	}
	locked := 0
	for _, s := range sealed {
		if _, err := opener.Open(s, purpose); err != nil {
			locked++
		}
	}
	if locked > 0 {
		notes.Problemf("Give the key that sealed them (ORGSYNC_ENCRYPTION_KEY; earlier ones in ORGSYNC_PREVIOUS_ENCRYPTION_KEYS), or have the marketplace push the applications again.",
			"the encryption keys do not open %d of the %d client secrets looked at", locked, len(sealed))
	}
}
