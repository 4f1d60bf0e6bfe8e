package doctor

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/openkoo/connector/target"
	"github.com/openkoo/connector/target/egress"
)

// Target is a target to look at.
type Target struct {
	Name, Type string
	// Setting is where it stands in the configuration: "targets[0]".
	Setting string
	Checker target.Checker
	Route   egress.Route // its URL's path may be a secret
}

// CheckTarget has a target's connector look whether it is let in, and looks
// when the certificate ends.
func CheckTarget(t Target) Check {
	return Check{Name: "target " + t.Name, Run: func(ctx context.Context, notes *Notes) {
		if err := t.Checker.Check(ctx); err != nil {
			note := notes.Problemf
			if target.ClassOf(err) == target.RateLimited {
				note = notes.Warnf
			}
			note(t.next(err), "%s", err)
			return
		}
		if scheme, _, _ := strings.Cut(t.Route.URL, "://"); scheme == "https" || scheme == "ldaps" {
			if state, err := t.Route.Reach(ctx); err == nil && state != nil {
				judgeExpiry(state, time.Now(), notes)
			}
		}
		if notes.unwell() {
			return
		}
		if t.Type == "webhook" {
			notes.OKf("can be reached; no message was sent")
			return
		}
		notes.OKf("answers and lets us in")
	}}
}

// LDAP's result codes for credentials that are refused, and for rights that
// are lacking (RFC 4511 appendix A).
const (
	ldapInvalidCredentials = 49
	ldapInsufficientRights = 50
)

// next is what to do about a target that fails.
func (t Target) next(err error) string {
	const meanwhile = " Deliveries wait meanwhile; nothing is lost."
	var dns *net.DNSError
	failed, _ := errors.AsType[*target.Error](err)
	switch {
	case expired(err):
		return "Renew the target's certificate; or set this machine's clock, if it is wrong." + meanwhile
	case errors.Is(err, egress.ErrForbidden):
		return "Set " + t.Setting + ".allowPrivate, if the target is meant to be in a private network." + meanwhile
	case errors.As(err, &dns):
		return "Correct the host in " + t.Setting + ".url, or the name server." + meanwhile
	case failed == nil:
		return "See docs/targets/" + t.Type + ".md." + meanwhile
	case failed.Status == http.StatusUnauthorized, failed.Status == http.StatusForbidden,
		failed.Status == ldapInvalidCredentials, failed.Status == ldapInsufficientRights:
		return "Correct " + t.Setting + ".auth, or the account's rights at the target (docs/targets/" + t.Type + ".md), and restart orgsync." + meanwhile
	case failed.Class == target.RateLimited:
		return "Nothing: the fan-out obeys. Ask for a higher limit if it stays so."
	case failed.Status == 0:
		return "Start the target, or correct " + t.Setting + ".url." + meanwhile
	default:
		return "Look at the target's log, and at docs/targets/" + t.Type + ".md." + meanwhile
	}
}

func expired(err error) bool {
	var invalid x509.CertificateInvalidError
	return errors.As(err, &invalid) && invalid.Reason == x509.Expired
}

// soon is how long before its end a certificate should have been renewed:
// automatic renewal happens a month before.
const soon = 14 * 24 * time.Hour

// judgeExpiry notes that what a server is trusted by ends soon: the chain that
// lasts longest, with its first certificate that ends. What is sent beside it,
// such as an old root for old clients, matters to nobody.
func judgeExpiry(state *tls.ConnectionState, now time.Time, notes *Notes) {
	var first *x509.Certificate
	for _, chain := range state.VerifiedChains {
		ends := slices.MinFunc(chain, func(a, b *x509.Certificate) int { return a.NotAfter.Compare(b.NotAfter) })
		if first == nil || ends.NotAfter.After(first.NotAfter) {
			first = ends
		}
	}
	if first == nil {
		return
	}
	if left := first.NotAfter.Sub(now); left < soon {
		notes.Warnf("Renew it, and see why it was not renewed by itself.", "the certificate of %s ends in %d days (%s)",
			certificateName(first), int(left.Hours()/24), first.NotAfter.UTC().Format(time.DateOnly))
	}
}

func certificateName(c *x509.Certificate) string {
	if len(c.DNSNames) > 0 {
		return c.DNSNames[0]
	}
	return c.Subject.CommonName
}
