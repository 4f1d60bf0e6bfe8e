package doctor

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"github.com/openkoo/connector/target/egress"
)

// Public is the production address as the marketplace sees it.
type Public struct {
	URL string // as registered in the seller console; empty if not known
	// By is an interface that is served, by which the address is tried.
	By Interface
	// Key is an access key of that interface, empty if there is none yet.
	Key string

	Now     func() time.Time // default time.Now
	Resolve func(ctx context.Context, host string) ([]netip.Addr, error)
	Dial    func(ctx context.Context, network, address string) (net.Conn, error)
	Roots   *x509.CertPool // default the system's
}

func (p Public) withDefaults() Public {
	if p.Now == nil {
		p.Now = time.Now
	}
	if p.Resolve == nil {
		p.Resolve = func(ctx context.Context, host string) ([]netip.Addr, error) {
			return net.DefaultResolver.LookupNetIP(ctx, "ip", host)
		}
	}
	if p.Dial == nil {
		p.Dial = egress.Dialer(true).DialContext
	}
	return p
}

// CheckPublic looks whether the production address is what the marketplace
// wants (spec/marketplace.md §0), and whether it leads to this connector.
func CheckPublic(p Public) Check {
	p = p.withDefaults()
	return Check{Name: "public address", Run: func(ctx context.Context, notes *Notes) {
		if p.URL == "" {
			notes.OKf("not examined; give the registered production address with --public-url or the setting publicUrl")
			return
		}
		u, err := url.Parse(p.URL)
		if err != nil || u.Hostname() == "" || (u.Scheme != "https" && u.Scheme != "http") {
			notes.Problemf("Write it as in the seller console: https://isv.example.com/saasproduce.", "the public address is no https:// address with a host")
			return
		}
		rules(u, notes)
		if p.resolves(ctx, u.Hostname(), notes) {
			p.reaches(ctx, u, notes)
		}
		if !notes.unwell() {
			notes.OKf("%s leads to a connector with this access key", p.URL)
		}
	}}
}

// rules notes what the marketplace would not take.
func rules(u *url.URL, notes *Notes) {
	if u.Scheme != "https" {
		notes.Problemf("Put a proxy with a certificate in front, and register https://.", "the public address is not HTTPS, which production wants")
	}
	if port := u.Port(); port != "" && port != "443" {
		notes.Problemf("Have the proxy listen on 443; the marketplace calls no other port.", "the public address names port %s", port)
	}
	host := u.Hostname()
	if _, err := netip.ParseAddr(host); err == nil {
		notes.Problemf("Register a domain name that leads there.", "the public address is an IP address, %s", host)
	} else if !strings.Contains(strings.TrimSuffix(host, "."), ".") {
		notes.Problemf("Register a domain name that the whole internet knows.", "the public address's host %q is no public domain name", host)
	}
	if u.RawQuery != "" || u.Fragment != "" || u.User != nil {
		notes.Problemf("Register scheme, host and path alone.", "the public address has a query, a fragment or a user in it: the marketplace adds parameters of its own")
	}
	if strings.Contains(u.Path, "/produceAPI") {
		notes.Problemf("Register it without: the marketplace adds /produceAPI/v2/… itself.", "the public address's path holds /produceAPI")
	}
}

// resolves looks where the name leads.
func (p Public) resolves(ctx context.Context, host string, notes *Notes) bool {
	if _, err := netip.ParseAddr(host); err == nil {
		return true // said already
	}
	addresses, err := p.Resolve(ctx, host)
	if err != nil || len(addresses) == 0 {
		notes.Problemf("Make the record at your DNS provider; a new one may take an hour to be seen.", "the name %s does not resolve", host)
		return false
	}
	for _, address := range addresses {
		if egress.Check(address, false) != nil {
			notes.Warnf("See that a public name server answers with a public address: the marketplace calls from the internet.", "%s leads to %s from here, which is not a public address", host, address.Unmap())
			break
		}
	}
	return true
}

// reaches sends calls that change nothing, and looks who answers.
func (p Public) reaches(ctx context.Context, u *url.URL, notes *Notes) {
	client, err := newClient("", p.Dial, p.Roots)
	if err != nil {
		notes.Problemf("", "%s", err)
		return
	}
	defer client.CloseIdleConnections()
	probe := &probe{client: client, url: u, now: p.Now, by: p.By}
	answer, err := probe.send(ctx, wrongKey)
	if err != nil {
		p.unreachable(u, err, notes)
		return
	}
	if answer.tls != nil {
		judgeExpiry(answer.tls, p.Now(), notes)
	}
	if !judgeWrong(answer, notes) || p.Key == "" {
		return
	}
	if answer, err = probe.send(ctx, p.Key); err != nil {
		p.unreachable(u, err, notes)
		return
	}
	judgeRight(answer, notes)
}

// unreachable says why no answer came.
func (p Public) unreachable(u *url.URL, err error, notes *Notes) {
	var host x509.HostnameError
	var unknown x509.UnknownAuthorityError
	var invalid x509.CertificateInvalidError
	switch {
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		notes.Problemf("Renew it, and see why it was not renewed by itself; if the dates look right, this machine's clock is wrong.", "the certificate of %s holds from %s to %s",
			u.Hostname(), invalid.Cert.NotBefore.UTC().Format(time.DateOnly), invalid.Cert.NotAfter.UTC().Format(time.DateOnly))
	case errors.As(err, &host):
		notes.Problemf("Have a certificate made for that name.", "the certificate is not for %s, but for %s", u.Hostname(), strings.Join(host.Certificate.DNSNames, ", "))
	case errors.As(err, &unknown):
		notes.Problemf("Use a certificate of a public authority, and have the proxy send the intermediate certificates too (fullchain.pem).", "the certificate of %s does not lead to an authority that is trusted", u.Hostname())
	default:
		notes.Problemf("See that the proxy runs, and that port 443 is open in firewall and security group.", "no call gets through to %s: it %s (%s)", u.Hostname(), egress.Explain(err), innermost(err))
	}
}

// innermost is the cause of a call that failed, without the address that the
// message has already.
func innermost(err error) error {
	if e, ok := errors.AsType[*url.Error](err); ok {
		err = e.Err
	}
	if e, ok := errors.AsType[*net.OpError](err); ok {
		err = e.Err
	}
	return err
}

// newClient makes a client that follows no redirect and uses no proxy.
func newClient(caFile string, dial func(ctx context.Context, network, address string) (net.Conn, error), roots *x509.CertPool) (*http.Client, error) {
	trust, err := egress.TLS(caFile)
	if err != nil {
		return nil, err
	}
	if roots != nil {
		trust.RootCAs = roots
	}
	trust.MinVersion = tls.VersionTLS12
	return &http.Client{
		Transport:     &http.Transport{DialContext: dial, TLSClientConfig: trust, ForceAttemptHTTP2: true, MaxResponseHeaderBytes: maxAnswer},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}, nil
}
