package main

import (
	"fmt"
	"os"
	"path/filepath"

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
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := s.load()
			if err != nil {
				return err
			}
			made, err := c.EnsureKeys()
			if err != nil {
				return err
			}
			text, err := os.ReadFile(c.AppPrivateKeyFile)
			if err != nil {
				return fmt.Errorf("appPrivateKeyFile: %w", err)
			}
			key, err := secrets.ParsePrivateKey(text)
			if err != nil {
				return err
			}
			spki, _, err := key.PublicKey()
			if err != nil {
				return err
			}
			w := cmd.OutOrStdout()
			for _, path := range made {
				fmt.Fprintln(w, "made", path)
			}
			fmt.Fprintf(w, "\nAccess key (访问秘钥): the console and this connector must share it.\n  file: %s\n", filepath.Join(c.DataDir, config.AccessKeyFile))
			if show {
				fmt.Fprintf(w, "  value: %s\n", c.KitKeys()[0])
			}
			fmt.Fprintf(w, "\nPublic key (RSA-3072, Base64 of SPKI): paste it as the application's public key.\n%s\n", spki)
			fmt.Fprintf(w, "\nPrivate key, encryption key and admin token stay here, in %s. Back them up.\n", c.DataDir)
			return nil
		},
	}
	cmd.Flags().BoolVar(&show, "show", false, "print the access key too")
	return cmd
}
