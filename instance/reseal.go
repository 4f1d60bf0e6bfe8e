package instance

import (
	"fmt"
	"maps"

	"github.com/openkoo/connector/directory"
)

// Resealer seals a value with the newest key, if another sealed it.
type Resealer interface {
	Reseal(sealed []byte, purpose string) (resealed []byte, changed bool, err error)
}

// Reseal seals all that an instance keeps sealed with the newest key. What it
// replaces is not shared with what was given.
func Reseal(resealer Resealer, i *directory.Instance) (changed bool, err error) {
	again := func(sealed *[]byte, purpose string) {
		if len(*sealed) == 0 || err != nil {
			return
		}
		next, renewed, failure := resealer.Reseal(*sealed, purpose)
		if failure != nil {
			err = fmt.Errorf("%s of instance %s: %w", purpose, i.ID, failure)
			return
		}
		*sealed, changed = next, changed || renewed
	}
	again(&i.SealedContact, contactPurpose)
	if i.App != nil {
		app := *i.App
		again(&app.SealedPassword, passwordPurpose)
		i.App = &app
	}
	licenses := maps.Clone(i.Licenses)
	for id, license := range licenses {
		again(&license.SealedText, licensePurpose)
		licenses[id] = license
	}
	i.Licenses = licenses
	return changed, err
}
