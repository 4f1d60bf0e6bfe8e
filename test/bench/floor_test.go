package bench

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"testing"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/stretchr/testify/require"
	_ "modernc.org/sqlite" // the driver "sqlite"

	"github.com/openkoo/connector/directory"
	"github.com/openkoo/connector/storage/embedded"
)

const floorKey = "floor-access-key"

const floorRow = "INSERT INTO entities (scope, kind, key, name, parent, flags, version, seq, source_time, changed_at) VALUES (?,?,?,?,?,?,?,?,?,?)"

// openFloor opens a database of the store's own schema and settings, to be
// written without the store.
func openFloor(dir string) (*sql.DB, error) {
	store, err := embedded.Open(context.Background(), dir, embedded.Options{})
	if err != nil {
		return nil, err
	}
	if err := store.Close(); err != nil {
		return nil, err
	}
	db, err := sql.Open("sqlite", "file:"+filepath.Join(dir, embedded.FileName)+
		"?_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)&_pragma=cache_size(-64000)&_pragma=wal_autocheckpoint(4000)&_pragma=temp_store(MEMORY)")
	if err == nil {
		db.SetMaxOpenConns(1)
	}
	return db, err
}

// writeRows is the floor of a full push: SQLite writing the same rows, one
// prepared statement a row, in one transaction.
func writeRows(tb testing.TB, departments []directory.DepartmentItem) time.Duration {
	tb.Helper()
	db, err := openFloor(tb.TempDir())
	require.NoError(tb, err)
	defer func() { require.NoError(tb, db.Close()) }()
	ctx := context.Background()
	began := time.Now()
	tx, err := db.BeginTx(ctx, nil)
	require.NoError(tb, err)
	stmt, err := tx.PrepareContext(ctx, floorRow)
	require.NoError(tb, err)
	for i := range departments {
		d := &departments[i]
		if _, err := stmt.ExecContext(ctx, 1, 2, d.Code, d.Name, d.ParentCode, 0, 1, i+1, 1, 1); err != nil {
			require.NoError(tb, err)
		}
	}
	require.NoError(tb, tx.Commit())
	return time.Since(began)
}

// serveFloor is the floor of an incremental push: a Gin handler that verifies
// the signature over the body as it came and commits one row.
func serveFloor(dir string) {
	db, err := openFloor(dir)
	if err != nil {
		fmt.Println("floor:", err)
		return
	}
	stmt, err := db.Prepare(floorRow)
	if err != nil {
		fmt.Println("floor:", err)
		return
	}
	gin.SetMode(gin.ReleaseMode)
	router := gin.New()
	seq := make(chan int, 1)
	seq <- 0
	router.POST("/produceAPI/v2/singleOrgSync", func(c *gin.Context) {
		body, err := io.ReadAll(c.Request.Body)
		mac := hmac.New(sha256.New, []byte(floorKey))
		_, _ = io.WriteString(mac, floorKey+c.GetHeader("x-nonce")+c.GetHeader("x-timestamp"))
		_, _ = mac.Write(body)
		var push struct{ OrgCode, OrgName, ParentCode string }
		if err != nil || !hmac.Equal([]byte(c.GetHeader("x-sign")), []byte(hex.EncodeToString(mac.Sum(nil)))) || json.Unmarshal(body, &push) != nil {
			c.String(http.StatusOK, `{"resultCode":"000001"}`)
			return
		}
		n := <-seq + 1
		seq <- n
		if _, err := stmt.Exec(1, 2, push.OrgCode, push.OrgName, push.ParentCode, 0, 1, n, 1, 1); err != nil {
			c.String(http.StatusOK, `{"resultCode":"000005","resultMsg":%q}`, err.Error())
			return
		}
		c.String(http.StatusOK, `{"resultCode":"000000"}`)
	})
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		fmt.Println("floor:", err)
		return
	}
	fmt.Println("floor http://" + listener.Addr().String())
	_ = http.Serve(listener, router)
}
