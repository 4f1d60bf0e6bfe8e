package main

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// A stranger who holds a request open is cut off in the end, and does not make
// the process end with an error.
func TestARequestThatDoesNotEndIsCutOff(t *testing.T) {
	t.Parallel()
	a, err := newTestApp(t, map[string]any{})
	require.NoError(t, err)
	var listen net.ListenConfig
	listener, err := listen.Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	served := make(chan error, 1)
	go func() { served <- a.http.Serve(listener) }()

	var dial net.Dialer
	conn, err := dial.DialContext(t.Context(), "tcp", listener.Addr().String())
	require.NoError(t, err)
	defer func() { _ = conn.Close() }()
	_, err = io.WriteString(conn, "POST /saasproduce/produceAPI/v2/allOrgSync HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\nExpect: 100-continue\r\n\r\n")
	require.NoError(t, err)
	answers := bufio.NewReader(conn)
	line, err := answers.ReadString('\n')
	require.NoError(t, err)
	require.Contains(t, line, "100 Continue", "its body is being waited for")

	require.NoError(t, a.shutDown(context.WithoutCancel(t.Context()), time.Millisecond))
	require.ErrorIs(t, <-served, http.ErrServerClosed)
	_, _ = io.ReadAll(answers) // ends, well or with a reset
}
