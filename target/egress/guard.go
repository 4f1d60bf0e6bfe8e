package egress

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"syscall"
	"time"
)

// ErrForbidden means that an address is not to be dialled.
var ErrForbidden = errors.New("address is not allowed")

// dialTimeout bounds one dial.
const dialTimeout = 10 * time.Second

// never lists what no target has any business at: it is refused even where
// private networks are allowed. Metadata services hand out credentials.
var never = prefixes(
	"0.0.0.0/8", "::/128", // this host
	"169.254.0.0/16", "fe80::/10", // link-local, most metadata services
	"100.100.100.200/32", "192.0.0.192/32", "168.63.129.16/32", "fd00:ec2::254/128", // the others
	"224.0.0.0/4", "ff00::/8", "240.0.0.0/4", // multicast, reserved, broadcast
)

// private lists what is inside a company or a machine.
var private = prefixes(
	"127.0.0.0/8", "::1/128", // loopback
	"10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7", "fec0::/10", // private
	"100.64.0.0/10",                                                                      // carrier-grade NAT
	"192.0.0.0/24", "192.0.2.0/24", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", // special use, RFC 6890
	"2001:db8::/32", "100::/64", "2001::/32", "64:ff9b:1::/48", // documentation, discard, Teredo, local NAT64
)

// embedding lists the IPv6 networks whose addresses stand for an IPv4 address,
// and at which byte it begins.
var embedding = []struct {
	prefix netip.Prefix
	at     int
}{
	{netip.MustParsePrefix("64:ff9b::/96"), 12}, // NAT64
	{netip.MustParsePrefix("2002::/16"), 2},     // 6to4
	{netip.MustParsePrefix("::/96"), 12},        // IPv4-compatible
}

func prefixes(texts ...string) []netip.Prefix {
	all := make([]netip.Prefix, len(texts))
	for i, text := range texts {
		all[i] = netip.MustParsePrefix(text)
	}
	return all
}

// Check refuses an address with ErrForbidden: always a link-local, metadata,
// unspecified or multicast one, and a private, loopback or CGNAT one unless
// allowPrivate is set. IPv4 addresses dressed up as IPv6 are seen through.
func Check(address netip.Addr, allowPrivate bool) error {
	bare := address.WithZone("").Unmap() // no prefix holds an address with a zone
	if bare == netip.IPv6Loopback() {
		return checkIn(bare, allowPrivate)
	}
	if bare.Is6() && !bare.IsUnspecified() {
		for _, e := range embedding {
			if e.prefix.Contains(bare) {
				bytes := bare.As16()
				return Check(netip.AddrFrom4([4]byte(bytes[e.at:e.at+4])), allowPrivate)
			}
		}
	}
	return checkIn(bare, allowPrivate)
}

func checkIn(address netip.Addr, allowPrivate bool) error {
	for _, prefix := range never {
		if prefix.Contains(address) {
			return fmt.Errorf("%w: %s is link-local, a metadata service or no host's own", ErrForbidden, address)
		}
	}
	if allowPrivate {
		return nil
	}
	for _, prefix := range private {
		if prefix.Contains(address) {
			return fmt.Errorf("%w: %s is in a private network; set allowPrivate if the target is meant to be there", ErrForbidden, address)
		}
	}
	return nil
}

// Dialer dials what Check lets pass.
func Dialer(allowPrivate bool) *net.Dialer {
	return &net.Dialer{
		Timeout: dialTimeout, KeepAlive: 30 * time.Second,
		Control: func(network, address string, _ syscall.RawConn) error {
			if strings.HasPrefix(network, "unix") {
				if allowPrivate {
					return nil
				}
				return fmt.Errorf("%w: a socket of this machine; set allowPrivate if the target is meant to be there", ErrForbidden)
			}
			resolved, err := netip.ParseAddrPort(address)
			if err != nil {
				return fmt.Errorf("%w: %q: %w", ErrForbidden, address, err)
			}
			return Check(resolved.Addr(), allowPrivate)
		},
	}
}
