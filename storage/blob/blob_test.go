package blob_test

import (
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
