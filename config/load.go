package config

import (
	"errors"
	"fmt"
	"os"
	"reflect"
	"strings"

	"github.com/go-viper/mapstructure/v2"
	"github.com/knadh/koanf/parsers/yaml"
	"github.com/knadh/koanf/providers/confmap"
	"github.com/knadh/koanf/providers/file"
	"github.com/knadh/koanf/v2"
)

// Load reads the configuration. path is the YAML file, empty for none; environ
// looks a name up (os.LookupEnv); flags are YAML names set on the command line.
func Load(path string, environ func(string) (string, bool), flags map[string]any) (*Config, error) {
	k := koanf.New(".")
	if err := k.Load(confmap.Provider(defaults(), "."), nil); err != nil {
		return nil, fmt.Errorf("configuration: defaults: %w", err)
	}
	if path != "" {
		if err := k.Load(file.Provider(path), yaml.Parser()); err != nil {
			return nil, fmt.Errorf("configuration: %s: %w", path, err)
		}
	}
	env, err := environment(environ)
	if err != nil {
		return nil, err
	}
	for _, layer := range []map[string]any{env, flags} {
		if err := k.Load(confmap.Provider(layer, "."), nil); err != nil {
			return nil, fmt.Errorf("configuration: %w", err)
		}
	}
	var c Config
	err = k.UnmarshalWithConf("", &c, koanf.UnmarshalConf{DecoderConfig: &mapstructure.DecoderConfig{
		Result: &c, TagName: "koanf", ErrorUnused: true, WeaklyTypedInput: true,
		DecodeHook: mapstructure.ComposeDecodeHookFunc(
			mapstructure.StringToTimeDurationHookFunc(),
			mapstructure.StringToSliceHookFunc(","),
		),
	}})
	if err != nil {
		return nil, fmt.Errorf("configuration: %w", err)
	}
	if err := c.readFiles(); err != nil {
		return nil, err
	}
	return &c, nil
}

// field is one setting that has a name in the environment.
type field struct {
	path, env, def, desc string
	secret, list         bool
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
		all = append(all, field{
			path: name, env: f.Tag.Get("env"), def: f.Tag.Get("default"), desc: f.Tag.Get("desc"),
			secret: f.Tag.Get("secret") == "true", list: f.Type.Kind() == reflect.Slice,
		})
	}
	return all
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

func environment(environ func(string) (string, bool)) (map[string]any, error) {
	values := make(map[string]any)
	var errs []error
	for _, f := range fields(reflect.TypeFor[Config](), "") {
		if f.env == "" {
			continue
		}
		if text, ok := environ(Prefix + f.env); ok {
			values[f.path] = text
			continue
		}
		path, ok := environ(Prefix + f.env + "_FILE")
		if !ok || !f.secret {
			continue
		}
		text, err := readSecret(path)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s%s_FILE: %w", Prefix, f.env, err))
			continue
		}
		values[f.path] = text
	}
	return values, errors.Join(errs...)
}

// readSecret reads a file that holds a secret, less the line break at its end.
func readSecret(path string) (string, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return "", fmt.Errorf("read secret: %w", err)
	}
	return strings.TrimSpace(string(text)), nil
}

// readFiles reads the targets' secrets that are given as files.
func (c *Config) readFiles() error {
	var errs []error
	for i := range c.Targets {
		auth := &c.Targets[i].Auth
		for _, secret := range []struct {
			path string
			into *string
		}{{auth.TokenFile, &auth.Token}, {auth.PasswordFile, &auth.Password}} {
			if secret.path == "" {
				continue
			}
			text, err := readSecret(secret.path)
			if err != nil {
				errs = append(errs, fmt.Errorf("targets[%d].auth: %w", i, err))
				continue
			}
			*secret.into = text
		}
	}
	return errors.Join(errs...)
}
