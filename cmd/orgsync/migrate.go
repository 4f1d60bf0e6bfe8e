package main

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/spf13/cobra"

	"github.com/openkoo/connector/config"
	"github.com/openkoo/connector/storage"
	"github.com/openkoo/connector/storage/embedded"
	"github.com/openkoo/connector/storage/mongo"
)

// movable is a store that a migration reads or fills.
type movable interface {
	storage.Dumper
	storage.Loader
	Close() error
}

// ends are where a migration reads and writes: one of each pair.
type ends struct {
	from, fromMongo, to, toMongo, database string
}

func migrateCommand(s *settings) *cobra.Command {
	var e ends
	cmd := &cobra.Command{
		Use:     "migrate",
		GroupID: "operate",
		Short:   "Move an embedded data directory into MongoDB, or back",
		Long: `Copy all that a store keeps into an empty one of the other kind: the directory
with versions, times and tombstones, holds, the journal, the slots with what each
target has, the change feed in its order, and the instances with their orders. No
target is sent anything again.

The connector must be stopped. Stopped itself, the command goes on when it is run
again, as long as the source has not changed. At the end it reads the new store
back and compares counts and hashes. The source stays as it is; the keys are not
moved: every replica needs those of the data directory.

Without --to-mongo or --from-mongo, ORGSYNC_MONGO_URI is the other end: it keeps
the password out of the list of processes.`,
		Example: `  orgsync migrate --from data --to-mongo mongodb://host/
  orgsync migrate --from-mongo mongodb://host/ --to data`,
		Args: none,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := s.load()
			if err != nil {
				return err
			}
			e.complete(c)
			return e.migrate(cmd.Context(), cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	cmd.Flags().StringVar(&e.from, "from", "", "data directory to read")
	cmd.Flags().StringVar(&e.toMongo, "to-mongo", "", "MongoDB to fill: mongodb://…")
	cmd.Flags().StringVar(&e.fromMongo, "from-mongo", "", "MongoDB to read: mongodb://…")
	cmd.Flags().StringVar(&e.to, "to", "", "data directory to fill")
	cmd.Flags().StringVar(&e.database, "database", "", "database in MongoDB (default ORGSYNC_MONGO_DATABASE, orgsync)")
	return cmd
}

// complete takes from the configuration what no flag has said.
func (e *ends) complete(c *config.Config) {
	if e.database == "" {
		e.database = c.MongoDatabase
	}
	if e.from != "" && e.to == "" && e.toMongo == "" && e.fromMongo == "" {
		e.toMongo = c.MongoURI.Reveal()
	}
	if e.to != "" && e.from == "" && e.toMongo == "" && e.fromMongo == "" {
		e.fromMongo = c.MongoURI.Reveal()
	}
}

// migrate opens both ends and moves.
func (e *ends) migrate(ctx context.Context, out, errOut io.Writer) (err error) {
	into := e.from != "" && e.toMongo != "" && e.fromMongo == "" && e.to == ""
	back := e.fromMongo != "" && e.to != "" && e.from == "" && e.toMongo == ""
	if !into && !back {
		return errors.New("want --from DIR and --to-mongo URI, or --from-mongo URI and --to DIR; see `orgsync migrate --help`")
	}
	logger := slog.New(slog.NewTextHandler(errOut, &slog.HandlerOptions{Level: slog.LevelWarn}))
	dir, uri := e.from+e.to, e.fromMongo+e.toMongo
	if _, err := os.Stat(filepath.Join(dir, embedded.FileName)); into && err != nil {
		return fmt.Errorf("--from %s: no store is there: %w", dir, cause(err))
	}
	local, err := embedded.Open(ctx, dir, embedded.Options{Logger: logger})
	if err != nil {
		return fmt.Errorf("migrate: %w", err)
	}
	defer func() { err = errors.Join(err, local.Close()) }()
	remote, err := mongo.Open(ctx, uri, e.database, mongo.Options{Logger: logger})
	if err != nil {
		return fmt.Errorf("migrate: %w", err)
	}
	defer func() { err = errors.Join(err, remote.Close()) }()
	if into {
		err = move(ctx, local, remote, out, errOut)
	} else {
		err = move(ctx, remote, local, out, errOut)
	}
	if err == nil {
		fmt.Fprintf(out, "Give the connector the keys that were in use, and start it on the new store: docs/operations.md says how.\n")
	}
	return err
}

// sum is what a store holds, by kind of record.
type sum map[string]tally

// tally counts records and joins their hashes, in whatever order they come.
type tally struct {
	Count int64
	Hash  [sha256.Size]byte
}

func (s sum) add(record *storage.Dumped) error {
	text, err := json.Marshal(record)
	if err != nil {
		return fmt.Errorf("encode a record of %s: %w", record.Kind(), err)
	}
	t, hash := s[record.Kind()], sha256.Sum256(text)
	t.Count++
	subtle.XORBytes(t.Hash[:], t.Hash[:], hash[:])
	s[record.Kind()] = t
	return nil
}

// total counts all records.
func (s sum) total() (n int64) {
	for _, t := range s {
		n += t.Count
	}
	return n
}

// name names a migration of just this content.
func (s sum) name() string {
	hash := sha256.New()
	for _, kind := range slices.Sorted(maps.Keys(s)) {
		t := s[kind]
		fmt.Fprintf(hash, "%s %d %x\n", kind, t.Count, t.Hash)
	}
	return hex.EncodeToString(hash.Sum(nil))
}

// sumOf reads a whole store.
func sumOf(ctx context.Context, store storage.Dumper) (sum, error) {
	all := sum{}
	for record, err := range store.Dump(ctx) {
		if err != nil {
			return nil, err
		}
		if err := all.add(&record); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// move fills the target with all of the source, and compares.
func move(ctx context.Context, source, target movable, out, errOut io.Writer) error {
	if name, err := source.Loading(ctx); err != nil || name != "" {
		return errors.Join(err, errors.New("a migration into the source has not ended; run that one again first"))
	}
	want, err := sumOf(ctx, source)
	if err != nil {
		return fmt.Errorf("read the source: %w", err)
	}
	name := want.name()
	if err := target.BeginLoad(ctx, name); errors.Is(err, storage.ErrConflict) {
		return fmt.Errorf("the target is in use: %w; give it an empty database or directory. An interrupted migration goes on only while its source is unchanged", err)
	} else if err != nil {
		return err
	}
	if err := load(ctx, source, target, want.total(), errOut); err != nil {
		return fmt.Errorf("%w; nothing is lost: run the same command again", err)
	}
	got, err := sumOf(ctx, target)
	if err != nil {
		return fmt.Errorf("read the target back: %w", err)
	}
	if !maps.Equal(want, got) {
		show(out, want, got)
		return errors.New("the target differs from the source: something has written to one of them meanwhile; stop every connector, empty the target, and start over")
	}
	if err := target.EndLoad(ctx, name); err != nil {
		return err
	}
	show(out, want, got)
	fmt.Fprintf(out, "%d records moved; counts and hashes agree.\n", got.total())
	return nil
}

// The bounds of a batch: records, and bytes of bodies.
const (
	loadBatch = 500
	loadBytes = 8 << 20
)

func load(ctx context.Context, source storage.Dumper, target storage.Loader, total int64, errOut io.Writer) (err error) {
	tick, done := showProgress(errOut, "Moving", total)
	defer func() { done(err == nil) }()
	batch, size := make([]storage.Dumped, 0, loadBatch), 0
	flush := func() error {
		if err := target.Load(ctx, batch); err != nil {
			return err
		}
		tick(int64(len(batch)))
		batch, size = batch[:0], 0
		return nil
	}
	for record, err := range source.Dump(ctx) {
		if err != nil {
			return err
		}
		batch = append(batch, record)
		if record.Push != nil {
			size += len(record.Push.Raw) + len(record.Push.Decisions)
		}
		if len(batch) == loadBatch || size > loadBytes {
			if err := flush(); err != nil {
				return err
			}
		}
	}
	return flush()
}

// show tells what each end holds.
func show(out io.Writer, want, got sum) {
	t := table.NewWriter()
	t.SetOutputMirror(out)
	t.SetStyle(table.StyleLight)
	t.AppendHeader(table.Row{"Records", "Source", "Target", "Equal"})
	for _, kind := range slices.Sorted(maps.Keys(want)) {
		t.AppendRow(table.Row{kind, want[kind].Count, got[kind].Count, want[kind] == got[kind]})
	}
	t.Render()
}
