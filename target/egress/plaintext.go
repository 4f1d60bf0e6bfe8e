package egress

import (
	"errors"
	"net/netip"
	"net/url"
	"strings"
)

// ErrPlaintext means that credentials and personal data would cross a network
// for everybody on the way to read.
var ErrPlaintext = errors.New("http:// would show credentials and personal data on the way; want https://, or plaintext: true inside your own network")

// CheckPlaintext refuses http:// with ErrPlaintext, except to this machine, or
// where the operator allows it. It holds for every connector alike.
func CheckPlaintext(u *url.URL, allowed bool) error {
	if !strings.EqualFold(u.Scheme, "http") || allowed || isLoopback(u.Hostname()) {
		return nil
	}
	return ErrPlaintext
}

// isLoopback reports whether a host of a URL is this machine without asking a
// name server: localhost and what is below it never leave it (RFC 6761 §6.3).
func isLoopback(host string) bool {
	name := strings.ToLower(strings.TrimSuffix(host, "."))
	if name == "localhost" || strings.HasSuffix(name, ".localhost") {
		return true
	}
	address, err := netip.ParseAddr(host)
	return err == nil && address.WithZone("").Unmap().IsLoopback()
}
