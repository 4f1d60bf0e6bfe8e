package config

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/go-viper/mapstructure/v2"
	"github.com/knadh/koanf/parsers/yaml"
	"github.com/knadh/koanf/providers/confmap"
	"github.com/knadh/koanf/v2"

	"github.com/openkoo/connector/secrets"
)

// maxConfigFile bounds the YAML file, in bytes: what is larger is some other file.
const maxConfigFile = 4 << 20

// Load reads the configuration and checks it. path is the YAML file, empty for
// none; environ is what os.Environ gives; flags are YAML names set on the
// command line. The error joins everything that is wrong, each with the name of
// the setting; it never holds the value of a secret.
func Load(path string, environ []string, flags map[string]any) (*Config, error) {
	k := koanf.New(".")
	if err := k.Load(confmap.Provider(defaults(), "."), nil); err != nil {
		return nil, fmt.Errorf("defaults: %w", err)
	}
	if path != "" {
		values, err := readYAML(path)
		if err != nil {
			return nil, err
		}
		if err := k.Load(confmap.Provider(values, ""), nil); err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
	}
	env, faults := environment(environ)
	for _, layer := range []map[string]any{env, flags} {
		if err := k.Load(confmap.Provider(layer, "."), nil); err != nil {
			return nil, err
		}
	}
	c := &Config{}
	faults = append(faults, c.decode(k)...)
	faults = append(faults, c.readFiles()...)
	v := checker{known: faults}
	v.config(c)
	return c, errors.Join(append(faults, v.errs...)...)
}

// readYAML reads the file's settings. Its errors quote nothing of the file:
// the path may be that of a secret by mistake.
func readYAML(path string) (map[string]any, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("read configuration: %w; give the path of a YAML file with --config or %sCONFIG", err, Prefix)
	}
	if info.IsDir() || info.Size() > maxConfigFile {
		return nil, fmt.Errorf("%s: not a configuration file", path)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read configuration: %w", err)
	}
	values, err := yaml.Parser().Unmarshal(text)
	switch {
	case err == nil:
		return values, nil
	case strings.Contains(err.Error(), "cannot unmarshal"):
		return nil, fmt.Errorf("%s: want settings as \"name: value\" lines", path)
	default:
		return nil, fmt.Errorf("%s: %w", path, err)
	}
}

// decode fills c and returns what does not fit.
func (c *Config) decode(k *koanf.Koanf) []error {
	err := k.UnmarshalWithConf("", c, koanf.UnmarshalConf{DecoderConfig: &mapstructure.DecoderConfig{
		Result: c, TagName: "koanf", WeaklyTypedInput: true, ErrorUnused: true,
		DecodeHook: mapstructure.ComposeDecodeHookFunc(unitless, mapstructure.StringToTimeDurationHookFunc(), splitList),
	}})
	var faults []error
	for _, one := range flatten(err) {
		faults = append(faults, misfits(one)...)
	}
	return faults
}

// unitlessError is a duration that is a bare number other than 0.
type unitlessError struct{ number any }

func (e unitlessError) Error() string {
	return fmt.Sprintf("%v has no unit; write %[1]vs, %[1]vm or %[1]vh for seconds, minutes or hours", e.number)
}

// unitless refuses a bare number for a duration: nobody means nanoseconds.
func unitless(from, to reflect.Value) (any, error) {
	duration := reflect.TypeFor[time.Duration]()
	if to.Type() != duration || from.Type() == duration {
		return from.Interface(), nil
	}
	if zero := from.IsZero(); zero || !from.CanInt() && !from.CanUint() && !from.CanFloat() {
		return from.Interface(), nil
	}
	return nil, unitlessError{from.Interface()}
}

// flatten undoes errors.Join, as far as the decoder joined.
func flatten(err error) []error {
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		var all []error
		for _, one := range joined.Unwrap() {
			all = append(all, flatten(one)...)
		}
		return all
	}
	if wrapped, ok := err.(interface{ Unwrap() error }); ok {
		if inner := wrapped.Unwrap(); inner != nil {
			if _, leaf := err.(*mapstructure.DecodeError); !leaf { //nolint:errorlint // only a leaf itself ends the descent
				return flatten(inner)
			}
		}
	}
	if err == nil {
		return nil
	}
	return []error{err}
}

// unusedKeys stands in the decoder's error before the names it does not know.
const unusedKeys = "has invalid keys: "

// misfits says what kind of value a setting wants, or which settings there
// are not. The decoder's own words are not repeated: they may hold the value.
func misfits(err error) []error {
	decode, ok := errors.AsType[*mapstructure.DecodeError](err)
	if !ok {
		return []error{err}
	}
	if names, unused := strings.CutPrefix(decode.Unwrap().Error(), unusedKeys); unused {
		var faults []error
		for name := range strings.SplitSeq(names, ", ") {
			hint := suggest(name, yamlNames(), "")
			if decode.Name() != "" {
				name = decode.Name() + "." + name
			}
			faults = append(faults, fmt.Errorf("%s: no such setting%s", name, hint))
		}
		return faults
	}
	if number, ok := errors.AsType[unitlessError](err); ok {
		return []error{fmt.Errorf("%s: %w", decode.Name(), number)}
	}
	want := "a value of another kind"
	if unconvertible, ok := errors.AsType[*mapstructure.UnconvertibleTypeError](err); ok {
		want = kindName(unconvertible.Expected.Type())
	} else if parse, ok := errors.AsType[*mapstructure.ParseError](err); ok {
		want = kindName(parse.Expected.Type())
	} else if strings.Contains(err.Error(), "duration") {
		want = aDuration
	}
	return []error{fmt.Errorf("%s: want %s", decode.Name(), want)}
}

const aDuration = "a duration such as 90s, 15m or 48h"

func kindName(t reflect.Type) string {
	switch t.Kind() {
	case reflect.Pointer:
		return kindName(t.Elem())
	case reflect.String:
		return "text"
	case reflect.Bool:
		return "true or false"
	case reflect.Int64:
		if t.Name() == "Duration" {
			return aDuration
		}
		return "a whole number"
	case reflect.Int:
		return "a whole number"
	case reflect.Float64:
		return "a number"
	case reflect.Slice:
		return "a list"
	default:
		return "settings of its own below it"
	}
}

// splitList makes a list of text with commas, as the environment writes lists.
func splitList(from, to reflect.Type, value any) (any, error) {
	if from.Kind() != reflect.String || to.Kind() != reflect.Slice || to.Elem().Kind() != reflect.String {
		return value, nil
	}
	return splitCommas(reflect.ValueOf(value).String()), nil
}

// splitCommas takes a list apart at commas and line breaks; blanks around an
// entry do not belong to it, and empty entries are none.
func splitCommas(text string) []string {
	entries := []string{}
	for entry := range strings.FieldsFuncSeq(text, func(r rune) bool { return r == ',' || r == '\n' || r == '\r' }) {
		if entry = strings.TrimSpace(entry); entry != "" {
			entries = append(entries, entry)
		}
	}
	return entries
}

// field is one setting.
type field struct {
	path, env, def, desc string
	kind                 reflect.Type
}

func (f *field) secret() bool { return isSecret(f.kind) }

func isSecret(t reflect.Type) bool {
	if t.Kind() == reflect.Slice {
		t = t.Elem()
	}
	return t == reflect.TypeFor[Secret]()
}

// fields lists the settings of a struct by their tags.
func fields(t reflect.Type, path string) []field {
	var all []field
	for f := range t.Fields() {
		name := path + f.Tag.Get("koanf")
		if f.Type.Kind() == reflect.Struct {
			all = append(all, fields(f.Type, name+".")...)
			continue
		}
		all = append(all, field{path: name, env: f.Tag.Get("env"), def: f.Tag.Get("default"), desc: f.Tag.Get("desc"), kind: f.Type})
	}
	return all
}

// yamlNames lists every name that a YAML file may use, without its place.
func yamlNames() []string {
	names := make(map[string]bool)
	for _, t := range []reflect.Type{reflect.TypeFor[Config](), reflect.TypeFor[Target]()} {
		for _, f := range fields(t, "") {
			for part := range strings.SplitSeq(f.path, ".") {
				names[part] = true
			}
		}
	}
	return slices.Sorted(maps.Keys(names))
}

func defaults() map[string]any {
	values := make(map[string]any)
	for _, f := range fields(reflect.TypeFor[Config](), "") {
		if f.def != "" {
			values[f.path] = f.def
		}
	}
	return values
}

// readSecret reads a file that holds a secret, less the white space around it.
func readSecret(path string) (Secret, error) {
	text, err := secrets.ReadFile(path)
	if err != nil {
		return "", err
	}
	secret := Secret(text)
	if secret == "" {
		return "", fmt.Errorf("%s: the file is empty", path)
	}
	return secret, nil
}

// readFiles reads the targets' secrets that are given as files.
func (c *Config) readFiles() (errs []error) {
	for i := range c.Targets {
		auth := &c.Targets[i].Auth
		for _, secret := range []struct {
			name, path string
			into       *Secret
		}{{"token", auth.TokenFile, &auth.Token}, {"password", auth.PasswordFile, &auth.Password}} {
			if secret.path == "" {
				continue
			}
			name := fmt.Sprintf("targets[%d].auth.%s", i, secret.name)
			if *secret.into != "" {
				errs = append(errs, fmt.Errorf("%s: given itself and as a file; want one", name))
				continue
			}
			text, err := readSecret(secret.path)
			if err != nil {
				errs = append(errs, fmt.Errorf("%sFile: %w", name, err))
				continue
			}
			*secret.into = text
		}
		errs = append(errs, auth.readSecrets(fmt.Sprintf("targets[%d].auth.secrets", i))...)
	}
	return errs
}

// readSecrets reads the file of signing secrets, a line each.
func (a *Auth) readSecrets(name string) []error {
	if a.SecretsFile == "" {
		return nil
	}
	if len(a.Secrets) > 0 {
		return []error{fmt.Errorf("%s: given themselves and as a file; want one", name)}
	}
	text, err := readSecret(a.SecretsFile)
	if err != nil {
		return []error{fmt.Errorf("%sFile: %w", name, err)}
	}
	for _, line := range splitCommas(text.Reveal()) {
		a.Secrets = append(a.Secrets, Secret(line))
	}
	return nil
}
