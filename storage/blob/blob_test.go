package blob_test

import (
	"runtime"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/openkoo/connector/storage/blob"
)

func TestUnpackReturnsWhatWasPacked(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(r *rapid.T) {
		plain := rapid.SliceOf(rapid.Byte()).Draw(r, "plain")
		back, err := blob.Unpack(blob.Pack(plain))
		require.NoError(r, err)
		require.Len(r, back, len(plain))
		require.Equal(r, string(plain), string(back))
	})
}

func TestManyPackAtOnce(t *testing.T) {
	t.Parallel()
	var group sync.WaitGroup
	for i := range 8 {
		group.Go(func() {
			plain := make([]byte, 100_000+i)
			back, err := blob.Unpack(blob.Pack(plain))
			if err != nil || len(back) != len(plain) {
				t.Errorf("%d bytes came back as %d: %v", len(plain), len(back), err)
			}
		})
	}
	group.Wait()
}

// A damaged blob takes up no more memory than it holds, however long it says
// that it is.
func TestADamagedBlobTakesUpNoMemory(t *testing.T) { //nolint:paralleltest // it counts what the process allocates
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	_, err := blob.Unpack([]byte("(\xb5/\xfd\x80\x80\x80qqqqqqq0,")) // says 1.9 GB
	runtime.ReadMemStats(&after)
	require.ErrorContains(t, err, "stored blob")
	require.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(64<<20))
}

func FuzzUnpackRefusesWhatIsNoBlob(f *testing.F) {
	f.Add([]byte("no blob"))
	f.Add(blob.Pack([]byte("a blob")))
	f.Fuzz(func(t *testing.T, packed []byte) {
		plain, err := blob.Unpack(packed)
		if err != nil {
			require.Empty(t, plain)
		}
	})
}
