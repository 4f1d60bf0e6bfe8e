package mongo

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	driver "go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"go.mongodb.org/mongo-driver/v2/mongo/readpref"

	"github.com/openkoo/connector/directory"
)

// maxSealed bounds how many client secrets an inspection reads.
const maxSealed = 200

// Inspection is what a database shows of itself to somebody who only looks.
type Inspection struct {
	Version string // the server's
	// Replicated says that the server is part of a replica set or of a sharded
	// cluster: what a majority has is not lost with one machine.
	Replicated bool
	// Anonymous says that the server let us in without a user.
	Anonymous bool
	// Prepared says that the store is there; Schema is its schema, and Known
	// this program's.
	Prepared      bool
	Schema, Known int
	// MissingIndexes are those that the next start would make, as
	// collection.index; MissingRights the actions the user may not do.
	MissingIndexes, MissingRights []string
	// Sealed are client secrets as they are kept, some of them.
	Sealed [][]byte
	// Clock is how far the server's clock was ahead of this machine's.
	Clock time.Duration
}

// Inspect looks at the database that uri and database name, and changes nothing
// in it. It fails as Open does; no message holds the URI's password.
func Inspect(ctx context.Context, uri, database string) (found Inspection, err error) {
	found.Known = schemaVersion
	opts := Options{}.withDefaults()
	client, clientOptions, err := newClient(uri, opts)
	if err != nil {
		return found, redact(err, passwordOf(uri))
	}
	defer func() {
		ended, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		err = errors.Join(err, client.Disconnect(ended))
	}()
	if err = client.Ping(ctx, readpref.Primary()); err == nil {
		err = found.read(ctx, client.Database(database))
	}
	if err != nil {
		return found, redact(startError(err, strings.Join(clientOptions.Hosts, ","), database), passwordOf(uri))
	}
	return found, nil
}

func (i *Inspection) read(ctx context.Context, db *driver.Database) error {
	for _, part := range []func(context.Context, *driver.Database) error{i.server, i.rights, i.schema, i.indexes, i.secrets} {
		if err := part(ctx, db); err != nil {
			return err
		}
	}
	return nil
}

func (i *Inspection) server(ctx context.Context, db *driver.Database) error {
	var build struct {
		Version string `bson:"version"`
	}
	if err := db.RunCommand(ctx, bson.D{{Key: "buildInfo", Value: 1}}).Decode(&build); err != nil {
		return err
	}
	var hello struct {
		SetName   string    `bson:"setName"`
		Message   string    `bson:"msg"`
		LocalTime time.Time `bson:"localTime"`
	}
	asked := time.Now()
	if err := db.RunCommand(ctx, bson.D{{Key: "hello", Value: 1}}).Decode(&hello); err != nil {
		return err
	}
	i.Version, i.Replicated = build.Version, hello.SetName != "" || hello.Message == "isdbgrid"
	if !hello.LocalTime.IsZero() {
		i.Clock = hello.LocalTime.Sub(asked.Add(time.Since(asked) / 2))
	}
	return nil
}

// needed are the actions that the store takes.
var needed = []string{"find", "insert", "update", "remove", "createIndex", "createCollection", "listIndexes"}

// privilege is what a user may do with a resource.
type privilege struct {
	Resource struct {
		DB          string `bson:"db"`
		Collection  string `bson:"collection"`
		AnyResource bool   `bson:"anyResource"`
	} `bson:"resource"`
	Actions []string `bson:"actions"`
}

// covers reports whether it is of every collection of a database.
func (p *privilege) covers(database string) bool {
	return p.Resource.AnyResource || p.Resource.Collection == "" && (p.Resource.DB == database || p.Resource.DB == "")
}

func (i *Inspection) rights(ctx context.Context, db *driver.Database) error {
	var status struct {
		Auth struct {
			Users      []bson.Raw  `bson:"authenticatedUsers"`
			Privileges []privilege `bson:"authenticatedUserPrivileges"`
		} `bson:"authInfo"`
	}
	err := db.RunCommand(ctx, bson.D{{Key: "connectionStatus", Value: 1}, {Key: "showPrivileges", Value: true}}).Decode(&status)
	if err != nil {
		return err
	}
	if i.Anonymous = len(status.Auth.Users) == 0; i.Anonymous {
		return nil
	}
	i.MissingRights = missingRights(status.Auth.Privileges, db.Name())
	return nil
}

func missingRights(privileges []privilege, database string) []string {
	return slices.DeleteFunc(slices.Clone(needed), func(action string) bool {
		return slices.ContainsFunc(privileges, func(p privilege) bool { return p.covers(database) && slices.Contains(p.Actions, action) })
	})
}

func (i *Inspection) schema(ctx context.Context, db *driver.Database) error {
	var stored struct {
		Version int `bson:"version"`
	}
	err := db.Collection("relays").FindOne(ctx, bson.D{{Key: "_id", Value: "schema"}}).Decode(&stored)
	if errors.Is(err, driver.ErrNoDocuments) {
		return nil
	}
	i.Prepared, i.Schema = true, stored.Version
	return err
}

func (i *Inspection) indexes(ctx context.Context, db *driver.Database) error {
	if !i.Prepared {
		return nil
	}
	for _, c := range indexed {
		there, err := db.Collection(c.collection).Indexes().ListSpecifications(ctx)
		if err != nil {
			return fmt.Errorf("list indexes of %s: %w", c.collection, err)
		}
		for _, want := range c.indexes {
			if !slices.ContainsFunc(there, func(spec driver.IndexSpecification) bool { return spec.Name == want.name }) {
				i.MissingIndexes = append(i.MissingIndexes, c.collection+"."+want.name)
			}
		}
	}
	return nil
}

func (i *Inspection) secrets(ctx context.Context, db *driver.Database) error {
	if !i.Prepared || i.Schema > i.Known {
		return nil
	}
	cursor, err := db.Collection("directory").Find(ctx,
		bson.D{{Key: "ds", Value: string(directory.Prod)}, {Key: "k", Value: int(directory.KindApplication)}, {Key: "gone", Value: false}},
		options.Find().SetLimit(maxSealed))
	if err != nil {
		return fmt.Errorf("read applications: %w", err)
	}
	var docs []entityDoc
	if err := cursor.All(ctx, &docs); err != nil {
		return fmt.Errorf("read applications: %w", err)
	}
	for _, doc := range docs {
		app, err := doc.application()
		if err != nil {
			return err
		}
		if len(app.SealedSecret) > 0 {
			i.Sealed = append(i.Sealed, app.SealedSecret)
		}
	}
	return nil
}
