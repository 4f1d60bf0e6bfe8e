package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/openkoo/connector/config"
	"github.com/openkoo/connector/directory"
	"github.com/openkoo/connector/instance"
	"github.com/openkoo/connector/secrets"
	"github.com/openkoo/connector/storage"
)

func rotateCommand(s *settings) *cobra.Command {
	return &cobra.Command{
		Use:   "rotate",
		Short: "Change the key that encrypts secrets at rest",
		Long: `Make a new encryption key and seal every stored secret with it: the client
secrets of applications, and what instances keep sealed. The earlier key goes on
opening what is not sealed anew yet. The command may be stopped and run again at
any moment; it says when the earlier key may go.

With the embedded store the connector must be stopped. With MongoDB, or where
encryptionKey is configured, the first run makes the key and says how to give it
to every replica; the second run, once they have it, seals while they go on.`,
		Example: `  orgsync keys rotate
  orgsync keys rotate --data-dir /var/lib/orgsync`,
		Args: none,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return rotate(cmd.Context(), s, cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
}

// rotate takes a rotation as far as it can go now.
func rotate(ctx context.Context, s *settings, out, errOut io.Writer) (err error) {
	c, configured, err := s.loadKeys()
	if err != nil {
		return err
	}
	if configured && !c.Rotating() {
		return announceKey(c, out)
	}
	// Before any file changes: the lock of the embedded store tells that no
	// connector runs that would not know the new key.
	opened, err := openBackends(ctx, c, newLogger(errOut, c.Log))
	if err != nil {
		return fmt.Errorf("keys rotate: %w", err)
	}
	defer func() { err = errors.Join(err, opened.close()) }()
	// Another rotation may have ended just before the lock was free.
	if c, configured, err = s.loadKeys(); err != nil {
		return err
	}
	if !c.Rotating() {
		if err := c.RotateKeyFiles(); err != nil {
			return err
		}
		fmt.Fprintf(out, "The new encryption key is in %s, the earlier one in %s\n",
			filepath.Join(c.DataDir, config.EncryptionKeyFile), filepath.Join(c.DataDir, config.PreviousKeysFile))
		if opened.shared {
			fmt.Fprintln(out, "Restart every replica, with both files in its data directory. Then run `orgsync keys rotate` again.")
			return nil
		}
	}
	box, err := openBox(c)
	if err != nil {
		return err
	}
	return resealAll(ctx, &reseal{store: opened.store, keyring: secrets.Keyring{Box: box}}, c, configured, out)
}

// loadKeys reads the configuration and the keys of the data directory;
// configured says that the encryption key is not from there.
func (s *settings) loadKeys() (c *config.Config, configured bool, err error) {
	if c, err = s.load(); err != nil {
		return nil, false, err
	}
	configured = c.EncryptionKey != ""
	_, err = c.EnsureKeys()
	return c, configured, err
}

// announceKey makes a key that only the configuration can bring into use.
func announceKey(c *config.Config, out io.Writer) error {
	path, err := c.MakeNextKey()
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "The new encryption key is in %s\nGive it to every replica, and restart each:\n", path)
	fmt.Fprintf(out, "  ORGSYNC_ENCRYPTION_KEY_FILE=%s\n  ORGSYNC_PREVIOUS_ENCRYPTION_KEYS=<the present key>\n", path)
	fmt.Fprintln(out, "Then run `orgsync keys rotate` again, configured alike: it seals the stored secrets anew.")
	return nil
}

// resealAll seals until nothing is left to seal, and says what may go then.
func resealAll(ctx context.Context, r *reseal, c *config.Config, configured bool, out io.Writer) error {
	if err := r.run(ctx); err != nil {
		return fmt.Errorf("%w; %d are sealed anew, run `orgsync keys rotate` again for the rest and keep the earlier keys until then", err, r.sealed)
	}
	fmt.Fprintf(out, "%d applications and instances looked at, %d sealed anew: all are sealed with the newest key.\n", r.seen, r.sealed)
	if configured {
		fmt.Fprintln(out, "The earlier keys may go: remove previousEncryptionKeys (ORGSYNC_PREVIOUS_ENCRYPTION_KEYS) and restart every replica.")
	} else {
		fmt.Fprintf(out, "The earlier key may go: remove %s\n", filepath.Join(c.DataDir, config.PreviousKeysFile))
	}
	fmt.Fprintln(out, "Backups made before now still need the earlier key: keep it with them.")
	return nil
}

// reseal seals what a store keeps with the newest key, in small steps beside a
// connector that goes on.
type reseal struct {
	store   storage.Store
	keyring secrets.Keyring
	// seen counts the applications and instances of the last pass, sealed those that
	// were sealed anew in all.
	seen, sealed int
}

// run goes over the store until a whole pass finds nothing to do: a push that
// was under way may bring a secret back that an earlier key has sealed.
func (r *reseal) run(ctx context.Context) error {
	for {
		before := r.sealed
		r.seen = 0
		conflicts, err := r.pass(ctx)
		if err != nil || (r.sealed == before && conflicts == 0) {
			return err
		}
	}
}

func (r *reseal) pass(ctx context.Context) (conflicts int, err error) {
	resealer, ok := r.store.(storage.Resealer)
	if !ok {
		return 0, errors.New("this store cannot be sealed anew")
	}
	for _, dataset := range []directory.Dataset{directory.Prod, directory.Test} {
		for page := (storage.Page{}); ; {
			found, next, err := r.store.Applications(ctx, storage.EntityFilter{Dataset: dataset, Deleted: true}, page)
			if err != nil {
				return conflicts, err
			}
			for i := range found {
				err := r.application(ctx, resealer, &found[i])
				switch {
				case errors.Is(err, storage.ErrConflict), errors.Is(err, storage.ErrNotFound):
					conflicts++ // a push changed it: the next pass sees how
				case err != nil:
					return conflicts, err
				}
			}
			if page.Cursor = next; next == "" {
				break
			}
		}
	}
	return conflicts, r.instances(ctx)
}

func (r *reseal) application(ctx context.Context, resealer storage.Resealer, found *storage.Scoped[directory.Application]) error {
	app := &found.Entity
	if len(app.SealedSecret) == 0 { // a tombstone
		return nil
	}
	r.seen++
	was := storage.SealedSecret{Sealed: app.SealedSecret, Fingerprint: app.SecretFingerprint}
	var next storage.SealedSecret
	var changed bool
	var err error
	next.Sealed, next.Fingerprint, changed, err = r.keyring.ResealClientSecret(was.Sealed, was.Fingerprint)
	if err != nil {
		return fmt.Errorf("client secret of application %q of %s: %w", app.AppID, found.Scope, err)
	}
	if !changed {
		return nil
	}
	if err := resealer.Reseal(ctx, found.Scope, app.AppID, was, next); err != nil {
		return err
	}
	r.sealed++
	return nil
}

// instances seals what instances keep.
func (r *reseal) instances(ctx context.Context) error {
	for page := (storage.Page{}); ; {
		found, next, err := r.store.Instances(ctx, storage.InstanceFilter{}, page)
		if err != nil {
			return err
		}
		for i := range found {
			if err := r.instance(ctx, &found[i]); err != nil {
				return err
			}
		}
		if page.Cursor = next; next == "" {
			return nil
		}
	}
}

func (r *reseal) instance(ctx context.Context, found *directory.Instance) error {
	r.seen++
	if changed, err := instance.Reseal(r.keyring.Box, found); err != nil || !changed {
		return err
	}
	var changed bool
	_, err := r.store.ChangeInstance(ctx, found.Dataset, found.ID, "", func(i *directory.Instance, _ bool) (bool, error) {
		var err error
		changed, err = instance.Reseal(r.keyring.Box, i)
		return changed, err
	})
	if changed && err == nil {
		r.sealed++
	}
	return err
}
