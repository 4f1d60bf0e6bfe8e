package marketplace

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/openkoo/connector/directory"
)

// asked notes the largest buffer that it was asked to fill.
type asked struct {
	io.Reader
	most int
}

func (a *asked) Read(p []byte) (int, error) {
	a.most = max(a.most, len(p))
	return a.Reader.Read(p)
}

// A caller that declares 64 MiB and sends ten bytes takes up no more room
// than one that declares ten.
func TestDeclaredLengthAllocatesNothing(t *testing.T) {
	t.Parallel()
	for _, declared := range []int64{64 << 20, 1 << 62, -1} {
		reader := &asked{Reader: io.MultiReader(bytes.NewReader(make([]byte, 10)), iotest.ErrReader(io.ErrUnexpectedEOF))}
		_, release, err := newBodies(64<<20, 0).read(reader, declared)
		release()
		require.ErrorContains(t, err, "body: cannot be read to its end")
		require.LessOrEqual(t, reader.most, 16<<10)
	}
}

// However a body arrives, and whatever length was declared, all of it is read,
// into little more room than it needs.
func TestReadBody(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		body := make([]byte, rapid.SampledFrom([]int{0, 1, 511, 512, 513, 16<<10 - 1, 16 << 10, 16<<10 + 1, 100_000}).Draw(t, "size"))
		for i := range body {
			body[i] = byte(i % 251)
		}
		declared := rapid.SampledFrom([]int64{-1, 0, int64(len(body)), int64(len(body)) + 1, 1 << 20, 5}).Draw(t, "declared")
		var reader io.Reader = bytes.NewReader(body)
		switch rapid.IntRange(0, 2).Draw(t, "how") {
		case 1:
			reader = iotest.HalfReader(reader)
		case 2:
			reader = iotest.DataErrReader(reader)
		}
		got, release, err := newBodies(1<<20, 0).read(reader, declared)
		defer release()
		require.NoError(t, err)
		require.True(t, bytes.Equal(body, got))
		require.LessOrEqual(t, cap(got), max(2*len(body)+2, 16<<10))
		if declared == int64(len(body)) {
			require.LessOrEqual(t, cap(got), max(len(body)+1, 512))
		}
	})
}

func TestReadBodySaysWhatIsWrong(t *testing.T) {
	t.Parallel()
	limited := http.MaxBytesReader(nil, io.NopCloser(bytes.NewReader(make([]byte, 101))), 100)
	b := newBodies(100, 0)
	_, _, err := b.read(limited, -1)
	require.Equal(t, &directory.InvalidError{Member: "body", Reason: "larger than 100 bytes"}, err)
	_, _, err = b.read(iotest.ErrReader(errors.New("connection reset by 10.0.0.1")), 5)
	require.Equal(t, &directory.InvalidError{Member: "body", Reason: "cannot be read to its end"}, err)
}

// What strangers send cannot take up more than the room of large bodies, and
// leaves it as they found it.
func TestLargeBodiesShareTheirRoom(t *testing.T) {
	t.Parallel()
	const size = 3 << 20
	b := newBodies(2<<20, size)
	large := func() io.Reader { return bytes.NewReader(make([]byte, 2<<20)) }
	_, first, err := b.read(large(), 2<<20)
	require.NoError(t, err)
	_, second, err := b.read(large(), -1)
	require.ErrorContains(t, err, "3145728 bytes of room")
	_, ok := errors.AsType[*directory.InvalidError](err)
	require.False(t, ok, "it is not the caller's fault: 000005")
	_, small, err := b.read(bytes.NewReader(make([]byte, freeRoom/2)), freeRoom/2)
	require.NoError(t, err, "small bodies go on")
	second()
	first()
	_, third, err := b.read(large(), -1)
	require.NoError(t, err)
	small()
	third()
	_, failed, err := b.read(io.MultiReader(large(), iotest.ErrReader(io.ErrUnexpectedEOF)), -1)
	require.Error(t, err)
	failed()
	require.True(t, b.room.TryAcquire(size), "all of it is free again")
}
