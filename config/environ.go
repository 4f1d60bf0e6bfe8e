package config

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
)

// fileSuffix makes the name of a secret's file of the secret's name.
const fileSuffix = "_FILE"

// environment reads the settings that the environment gives. A name that only
// resembles one of ours is a fault; one that is quite another is somebody
// else's (Kubernetes sets ORGSYNC_PORT beside a service called orgsync).
func environment(environ []string) (values map[string]any, errs []error) {
	given := make(map[string]string)
	for _, entry := range environ {
		if name, value, ok := strings.Cut(entry, "="); ok && strings.HasPrefix(name, Prefix) {
			given[strings.TrimPrefix(name, Prefix)] = value
		}
	}
	values = make(map[string]any)
	known := []string{"CONFIG"}
	for _, f := range fields(reflect.TypeFor[Config](), "") {
		if f.env == "" {
			continue
		}
		known = append(known, f.env)
		text, set := given[f.env]
		if f.secret() {
			known = append(known, f.env+fileSuffix)
			if path := given[f.env+fileSuffix]; path != "" {
				secret, err := secretOf(text, path)
				if err != nil {
					errs = append(errs, fmt.Errorf("%s%s%s: %w", Prefix, f.env, fileSuffix, err))
					continue
				}
				text, set = secret.Reveal(), true
			}
		}
		if set {
			values[f.path] = text
		}
	}
	for _, name := range known {
		delete(given, name)
	}
	for _, name := range sortedNames(given) {
		if setting, isFile := strings.CutSuffix(name, fileSuffix); isFile && slices.Contains(known, setting) {
			errs = append(errs, fmt.Errorf("%s%s: only secrets are taken from files; set %s%s", Prefix, name, Prefix, setting))
		} else if hint := suggest(name, known, Prefix); hint != "" {
			errs = append(errs, fmt.Errorf("%s%s: no such setting%s", Prefix, name, hint))
		}
	}
	return values, errs
}

// secretOf reads a secret's file, which must be the only word on it.
func secretOf(text, path string) (Secret, error) {
	if text != "" {
		return "", errors.New("the secret is given itself, too; want one of the two")
	}
	return readSecret(path)
}
