package main

import (
	"fmt"
	"io"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/openkoo/connector/config"
	"github.com/openkoo/connector/secrets"
)

func keysCommand(s *settings) *cobra.Command {
	var show bool
	cmd := &cobra.Command{
		Use:     "keys",
		GroupID: "run",
		Short:   "Make the keys, and show what to paste into the seller console",
		Long: `Make the keys that are not there yet, in the data directory: the access key that
signs calls, the RSA-3072 pair for client secrets, the key that encrypts secrets
at rest, and the admin token. Then show where they are, and the public key in
the form the seller console takes. --show also prints the access key.`,
		Example: `  orgsync keys
  orgsync keys --show --data-dir /var/lib/orgsync`,
		Args: none,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := s.load()
			if err != nil {
				return err
			}
			configured := len(c.KitAccessKeys) > 0
			made, err := c.EnsureKeys()
			if err != nil {
				return err
			}
			return showKeys(cmd.OutOrStdout(), c, made, configured, show)
		},
	}
	cmd.AddCommand(rotateCommand(s))
	cmd.Flags().BoolVar(&show, "show", false, "print the access key too")
	return cmd
}

func showKeys(w io.Writer, c *config.Config, made []string, configured, show bool) error {
	text, err := secrets.ReadFile(c.AppPrivateKeyFile)
	if err != nil {
		return fmt.Errorf("appPrivateKeyFile: %w", err)
	}
	key, err := secrets.ParsePrivateKey(text)
	if err != nil {
		return fmt.Errorf("%s: %w", c.AppPrivateKeyFile, err)
	}
	spki, _, err := key.PublicKey()
	if err != nil {
		return err
	}
	for _, path := range made {
		fmt.Fprintln(w, "made", path)
	}
	if len(made) > 0 {
		fmt.Fprintln(w)
	}
	where := "file: " + filepath.Join(c.DataDir, config.AccessKeyFile)
	if configured {
		where = "from the configuration (kitAccessKeys)"
	}
	fmt.Fprintf(w, "Access key (访问秘钥): the seller console and this connector must share it.\n  %s\n", where)
	if show {
		fmt.Fprintf(w, "  value: %s\n", c.KitKeys()[0])
	}
	fmt.Fprintf(w, "\nPublic key (RSA, Base64 of SPKI): paste it as the application's public key.\n%s\n", spki)
	fmt.Fprintf(w, "\nPrivate key: %s\nEncryption key and admin token: in %s, unless configured. Back all of them up.\n", c.AppPrivateKeyFile, c.DataDir)
	return nil
}

// accessKeys are the kit's access keys, the newest first: those in a file, one
// a line, or, without one, this connector's own.
func (s *settings) accessKeys(path string) ([]string, error) {
	if path == "" {
		c, err := s.load()
		if err != nil {
			return nil, err
		}
		if keys := c.KitKeys(); len(keys) > 0 {
			return keys, nil
		}
		path = filepath.Join(c.DataDir, config.AccessKeyFile)
	}
	text, err := secrets.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("access key: %w; give it with --key-file or %sKIT_ACCESS_KEYS, or make one with `orgsync keys`", err, config.Prefix)
	}
	keys := strings.Fields(string(text))
	if len(keys) == 0 {
		return nil, fmt.Errorf("access key: %s is empty", path)
	}
	return keys, nil
}
