package marketplace

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/openkoo/connector/directory"
)

func bodiesOf(limit, size int64) *bodies {
	return &bodies{limit: limit, room: NewRoom(max(size, limit))}
}

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
		_, release, err := bodiesOf(64<<20, 0).read(reader, declared)
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
		got, release, err := bodiesOf(1<<20, 0).read(reader, declared)
		defer release()
		require.NoError(t, err)
		require.True(t, bytes.Equal(body, got))
		require.LessOrEqual(t, cap(got), max(2*len(body)+2, min(4*len(body), int(declared))+1, 16<<10))
		if declared == int64(len(body)) {
			require.LessOrEqual(t, cap(got), max(len(body)+1, 512))
		}
	})
}

func TestReadBodySaysWhatIsWrong(t *testing.T) {
	t.Parallel()
	limited := http.MaxBytesReader(nil, io.NopCloser(bytes.NewReader(make([]byte, 101))), 100)
	b := bodiesOf(100, 0)
	_, _, err := b.read(limited, -1)
	require.Equal(t, &directory.InvalidError{Member: "body", Reason: "larger than 100 bytes"}, err)
	_, _, err = b.read(iotest.ErrReader(errors.New("connection reset by 10.0.0.1")), 5)
	require.Equal(t, &directory.InvalidError{Member: "body", Reason: "cannot be read to its end"}, err)
}

// What strangers send cannot take up more than the room of large and of medium
// bodies, and leaves both as they found them.
func TestBodiesShareTheirRoom(t *testing.T) {
	t.Parallel()
	for what, c := range map[string]struct{ body, room, others int }{
		"large":  {2 << 20, 3 << 20, mediumRoom / 8},
		"medium": {mediumRoom * 3 / 4, mediumRoom, freeRoom / 2},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			b := bodiesOf(2<<20, 3<<20)
			sent := func(size int) io.Reader { return bytes.NewReader(make([]byte, size)) }
			_, first, err := b.read(sent(c.body), int64(c.body))
			require.NoError(t, err)
			rest := sent(c.body)
			_, second, err := b.read(rest, -1)
			require.ErrorContains(t, err, fmt.Sprintf("%s bodies take up all of their %d bytes of room", what, c.room))
			_, ok := errors.AsType[*directory.InvalidError](err)
			require.False(t, ok, "it is not the caller's fault: 000005")
			n, err := rest.Read(make([]byte, 1))
			require.Zero(t, n, "it is heard out")
			require.ErrorIs(t, err, io.EOF)
			second()
			_, smaller, err := b.read(sent(c.others), int64(c.others))
			require.NoError(t, err, "smaller bodies go on")
			first()
			_, third, err := b.read(sent(c.body), -1)
			require.NoError(t, err)
			smaller()
			third()
			_, failed, err := b.read(io.MultiReader(sent(c.body), iotest.ErrReader(io.ErrUnexpectedEOF)), -1)
			require.Error(t, err)
			failed()
			for _, part := range []part{b.room.large, b.room.medium} {
				require.True(t, part.free.TryAcquire(part.size), "all of it is free again")
			}
		})
	}
}

// The largest body there may be finds room where there is room for one.
func TestTheLargestBodyFits(t *testing.T) {
	t.Parallel()
	const limit = 3<<20 + 7
	for _, declared := range []int64{limit, -1, 1 << 62} {
		b := bodiesOf(limit, limit)
		reader := &asked{Reader: http.MaxBytesReader(nil, io.NopCloser(bytes.NewReader(make([]byte, limit))), limit)}
		body, release, err := b.read(reader, declared)
		require.NoError(t, err)
		require.Len(t, body, limit)
		require.LessOrEqual(t, cap(body), 2*limit)
		release()
	}
}
