package mongo_test

import (
	"testing"

	"github.com/stretchr/testify/require"
	driver "go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/openkoo/connector/storage/mongo"
)

func TestInspectChangesNothing(t *testing.T) {
	t.Parallel()
	name := database(t)
	found, err := mongo.Inspect(t.Context(), server().URI, name)
	require.NoError(t, err)
	require.NotEmpty(t, found.Version)
	require.False(t, found.Prepared)
	again, err := mongo.Inspect(t.Context(), server().URI, name)
	require.NoError(t, err)
	require.False(t, again.Prepared, "the first made nothing")

	store, err := mongo.Open(t.Context(), server().URI, name, quiet())
	require.NoError(t, err)
	require.NoError(t, store.Close())
	found, err = mongo.Inspect(t.Context(), server().URI, name)
	require.NoError(t, err)
	require.True(t, found.Prepared)
	require.Equal(t, found.Known, found.Schema)
	require.Empty(t, found.MissingIndexes)
	dropIndex(t, name, "slots", "due")
	found, err = mongo.Inspect(t.Context(), server().URI, name)
	require.NoError(t, err)
	require.Equal(t, []string{"slots.due"}, found.MissingIndexes)
}

func TestInspectSaysWhatToDo(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		rule func(command) fault
		says []string
	}{
		"the wrong password": {refuseFor("ping", 18, "Authentication failed."), []string{"refuses the user or password"}},
		"no rights":          {refuseFor("find", 13, "not authorized"), []string{"does not let the user", "readWrite"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newProxy(t)
			p.set(test.rule)
			_, err := mongo.Inspect(t.Context(), p.uri, database(t))
			for _, says := range test.says {
				require.ErrorContains(t, err, says)
			}
		})
	}
	_, err := mongo.Inspect(t.Context(), "mongodb://u:s3cr3t%zz@127.0.0.1/", "d")
	require.ErrorContains(t, err, "percent-encoded")
	require.NotContains(t, err.Error(), "s3cr3t")
}

func TestRightsAreThoseOfTheDatabase(t *testing.T) {
	t.Parallel()
	all := mongo.Needed()
	require.Empty(t, mongo.MissingRights("orgsync", mongo.Granted("orgsync", "", all...)))
	require.Empty(t, mongo.MissingRights("orgsync", mongo.Granted("", "", all...)), "of every database")
	require.Equal(t, all, mongo.MissingRights("orgsync", mongo.Granted("other", "", all...)))
	require.Equal(t, all, mongo.MissingRights("orgsync", mongo.Granted("orgsync", "slots", all...)), "of one collection alone")
	require.Equal(t, all[1:], mongo.MissingRights("orgsync", mongo.Granted("orgsync", "", all[0])))
	require.Equal(t, all, mongo.MissingRights("orgsync"))
}

func dropIndex(t *testing.T, database, collection, name string) {
	t.Helper()
	client, err := driver.Connect(options.Client().ApplyURI(server().URI))
	require.NoError(t, err)
	require.NoError(t, client.Database(database).Collection(collection).Indexes().DropOne(t.Context(), name))
	require.NoError(t, client.Disconnect(t.Context()))
}
