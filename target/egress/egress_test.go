package egress_test

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/openkoo/connector/target/egress"
)

func TestCheckKnowsEveryKindOfAddress(t *testing.T) {
	t.Parallel()
	const (
		public    = "public"
		inside    = "inside"
		forbidden = "forbidden"
	)
	for address, kind := range map[string]string{
		"8.8.8.8": public, "2001:4860:4860::8888": public, "172.15.255.255": public, "172.32.0.1": public,
		"100.63.255.255": public, "100.128.0.0": public, "::ffff:8.8.8.8": public, "64:ff9b::808:808": public,
		"127.0.0.1": inside, "127.9.9.9": inside, "::1": inside, "10.1.2.3": inside, "172.16.0.1": inside, "172.31.255.255": inside,
		"192.168.1.1": inside, "100.64.0.1": inside, "100.127.255.255": inside, "fc00::1": inside, "fd12::1": inside, "fec0::1": inside,
		"192.0.0.1": inside, "198.18.0.1": inside, "2001::1": inside, "64:ff9b:1::1": inside,
		"::ffff:127.0.0.1": inside, "::ffff:10.0.0.1": inside, "64:ff9b::7f00:1": inside, "2002:7f00:1::": inside, "::7f00:1": inside, "fd12::1%eth0": inside,
		"0.0.0.0": forbidden, "0.1.2.3": forbidden, "::": forbidden, "169.254.169.254": forbidden, "169.254.0.1": forbidden,
		"fe80::1": forbidden, "fe80::1%eth0": forbidden, "100.100.100.200": forbidden, "192.0.0.192": forbidden, "168.63.129.16": forbidden, "fd00:ec2::254": forbidden,
		"224.0.0.1": forbidden, "ff02::1": forbidden, "255.255.255.255": forbidden, "240.0.0.1": forbidden,
		"::ffff:169.254.169.254": forbidden, "64:ff9b::a9fe:a9fe": forbidden, "2002:a9fe:a9fe::1": forbidden,
	} {
		t.Run(address, func(t *testing.T) {
			t.Parallel()
			parsed := netip.MustParseAddr(address)
			guarded, allowed := egress.Check(parsed, false), egress.Check(parsed, true)
			require.Equal(t, kind != public, errors.Is(guarded, egress.ErrForbidden), "guarded: %v", guarded)
			require.Equal(t, kind == forbidden, errors.Is(allowed, egress.ErrForbidden), "private allowed: %v", allowed)
		})
	}
}

// What the standard library calls local is never let through, in any dress.
func TestCheckLetsNothingLocalThrough(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		raw := [4]byte(rapid.SliceOfN(rapid.Byte(), 4, 4).Draw(t, "address"))
		raw[0] = rapid.SampledFrom([]byte{0, 10, 127, 169, 172, 192, 224, raw[0]}).Draw(t, "first")
		v4 := netip.AddrFrom4(raw)
		local := v4.IsPrivate() || v4.IsLoopback() || v4.IsLinkLocalUnicast() || v4.IsMulticast() || v4.IsUnspecified()
		nat64 := netip.MustParseAddr("64:ff9b::").As16()
		copy(nat64[12:], raw[:])
		for _, dressed := range []netip.Addr{v4, netip.AddrFrom16(v4.As16()), netip.AddrFrom16(nat64)} {
			err := egress.Check(dressed, false)
			require.False(t, local && err == nil, "%s passes", dressed)
			require.Equal(t, egress.Check(v4, false) == nil, err == nil, "%s is not judged as %s", dressed, v4)
		}
	})
}

// The check is on what a name resolves to, at the dial itself.
func TestDialerChecksTheResolvedAddress(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(server.Close)
	_, port, err := net.SplitHostPort(server.Listener.Addr().String())
	require.NoError(t, err)

	for _, host := range []string{"localhost", "127.0.0.1", "::ffff:127.0.0.1", "0.0.0.0"} {
		_, err = egress.Dialer(false).DialContext(context.Background(), "tcp", net.JoinHostPort(host, port))
		require.ErrorIs(t, err, egress.ErrForbidden, host)
		require.Equal(t, "is not to be dialled", egress.Explain(err))
	}
	conn, err := egress.Dialer(true).DialContext(context.Background(), "tcp", net.JoinHostPort("localhost", port))
	require.NoError(t, err)
	require.NoError(t, conn.Close())
}

func TestDialerRefusesSocketsOfThisMachine(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "s")
	listener, err := net.Listen("unix", path)
	require.NoError(t, err)
	t.Cleanup(func() { _ = listener.Close() })
	_, err = egress.Dialer(false).DialContext(context.Background(), "unix", path)
	require.ErrorIs(t, err, egress.ErrForbidden)
	conn, err := egress.Dialer(true).DialContext(context.Background(), "unix", path)
	require.NoError(t, err)
	require.NoError(t, conn.Close())
}

func TestTLSNamesWhatIsWrongWithCAFile(t *testing.T) {
	t.Parallel()
	_, err := egress.TLS(filepath.Join(t.TempDir(), "none.pem"))
	require.ErrorContains(t, err, "caFile")
	path := filepath.Join(t.TempDir(), "garbage.pem")
	require.NoError(t, os.WriteFile(path, []byte("garbage"), 0o600))
	_, err = egress.TLS(path)
	require.ErrorContains(t, err, "holds no certificate")
	config, err := egress.TLS("")
	require.NoError(t, err)
	require.Equal(t, uint16(tls.VersionTLS12), config.MinVersion)
}
