package main

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/openkoo/connector/config"
)

// settings are the flags that all commands share.
type settings struct {
	config, listen, dataDir string
}

func rootCommand() *cobra.Command {
	s := &settings{}
	root := &cobra.Command{
		Use:   "orgsync",
		Short: "Keep identity providers in step with an enterprise's directory on Huawei Cloud KooGallery",
		Long: `orgsync is the production address of a seller on Huawei Cloud KooGallery (华为云商店).
It takes the marketplace's signed pushes, keeps the directory, brings every
target (SCIM) to it, and answers "is it synced?".

New here?   orgsync demo     an enterprise is bound, edited and followed; nothing to set up
Next:       orgsync serve    the real thing, with generated keys in ./data`,
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.PersistentFlags().StringVar(&s.config, "config", os.Getenv(config.Prefix+"CONFIG"), "YAML file with the configuration")
	root.PersistentFlags().StringVar(&s.dataDir, "data-dir", "", "directory of store and keys (default ./data)")
	root.AddGroup(&cobra.Group{ID: "run", Title: "Run it:"}, &cobra.Group{ID: "operate", Title: "Look after it:"})
	root.AddCommand(serveCommand(s), demoCommand(), pushCommand(s), statusCommand(s), keysCommand(s), holdsCommand(s))
	return root
}

// load reads the configuration with the flags on top.
func (s *settings) load() (*config.Config, error) {
	flags := make(map[string]any)
	if s.listen != "" {
		flags["listen"] = s.listen
	}
	if s.dataDir != "" {
		flags["dataDir"] = s.dataDir
	}
	c, err := config.Load(s.config, os.Environ(), flags)
	if err != nil {
		return nil, fmt.Errorf("the configuration has faults:\n%w\nSettings and their values: docs/configuration.md", err)
	}
	return c, nil
}
