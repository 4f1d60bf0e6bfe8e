package mongo_test

import (
	"context"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.mongodb.org/mongo-driver/v2/bson"
	driver "go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"go.mongodb.org/mongo-driver/v2/mongo/writeconcern"

	"github.com/openkoo/connector/directory"
	"github.com/openkoo/connector/storage"
	"github.com/openkoo/connector/storage/mongo"
)

// BenchmarkFullPushMongo times a full push of new departments, journal and all,
// against the bare driver's BulkWrite of the same documents: xfloor.
func BenchmarkFullPushMongo(b *testing.B) {
	uri := os.Getenv("ORGSYNC_BENCH_MONGO_URI")
	if uri == "" {
		b.Skip("ORGSYNC_BENCH_MONGO_URI names no server: the one tests start writes a hundred times slower than MongoDB, which would hide all the store adds")
	}
	ctx := context.Background()
	client, err := driver.Connect(options.Client().ApplyURI(uri).SetWriteConcern(writeconcern.Majority()))
	require.NoError(b, err)
	defer func() { require.NoError(b, client.Disconnect(ctx)) }()
	name := "orgsync_bench"
	db := client.Database(name)
	for _, n := range benchSizes() {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			var bare, ours time.Duration
			for b.Loop() {
				b.StopTimer()
				require.NoError(b, db.Drop(ctx))
				opts := quiet()
				store, err := mongo.Open(ctx, uri, name, opts)
				require.NoError(b, err)
				items := make([]directory.DepartmentItem, n)
				for i := range items {
					items[i] = item(fmt.Sprintf("d%07d", i), "研发中心部门", "")
				}
				push := fullPush(acme, 1, items...)
				require.NoError(b, planner.Prepare(ctx, push))
				b.StartTimer()
				began := time.Now()
				require.NoError(b, store.Accept(ctx, storage.RecordOf(push), push.Raw))
				_, err = store.ApplyAccepted(ctx, push.ID, planOf(push))
				require.NoError(b, err)
				ours += time.Since(began)
				b.StopTimer()
				bare += floor(b, db)
				require.NoError(b, store.Close())
				b.StartTimer()
			}
			b.ReportMetric(float64(ours)/float64(bare), "xfloor")
			b.ReportMetric(float64(ours.Nanoseconds())/float64(b.N*n), "ns/department")
		})
	}
	require.NoError(b, db.Drop(ctx))
}

// benchSizes are one hundred thousand departments, or what the environment says.
func benchSizes() []int {
	if text := os.Getenv("ORGSYNC_BENCH_MONGO_DEPARTMENTS"); text != "" {
		var n int
		if _, err := fmt.Sscan(text, &n); err == nil && n > 0 {
			return []int{n}
		}
	}
	return []int{100_000}
}

// floor copies the documents the store wrote to a collection with the same
// indexes, by one BulkWrite of the driver, and times the writing alone.
func floor(b *testing.B, db *driver.Database) time.Duration {
	b.Helper()
	ctx := context.Background()
	cursor, err := db.Collection("directory").Find(ctx, bson.D{{Key: "k", Value: int32(directory.KindDepartment)}})
	require.NoError(b, err)
	var models []driver.WriteModel
	for cursor.Next(ctx) {
		models = append(models, driver.NewInsertOneModel().SetDocument(append(bson.Raw(nil), cursor.Current...)))
	}
	require.NoError(b, cursor.Err())
	specs, err := db.Collection("directory").Indexes().ListSpecifications(ctx)
	require.NoError(b, err)
	target := db.Collection("floor")
	for _, spec := range specs {
		if spec.Name != "_id_" {
			_, err := target.Indexes().CreateOne(ctx, driver.IndexModel{Keys: spec.KeysDocument, Options: options.Index().SetName(spec.Name)})
			require.NoError(b, err)
		}
	}
	began := time.Now()
	_, err = target.BulkWrite(ctx, models, options.BulkWrite().SetOrdered(false))
	require.NoError(b, err)
	return time.Since(began)
}
