package egress

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"

	"github.com/openkoo/connector/secrets"
)

// TLS trusts the system's authorities and those of caFile (PEM; empty for
// none). Nothing below TLS 1.2 is spoken.
func TLS(caFile string) (*tls.Config, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if caFile == "" {
		return config, nil
	}
	pem, err := secrets.ReadFile(caFile)
	if err != nil {
		return nil, fmt.Errorf("caFile: %w", err)
	}
	pool, err := x509.SystemCertPool()
	if err != nil {
		pool = x509.NewCertPool()
	}
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("caFile: %s holds no certificate", caFile)
	}
	config.RootCAs = pool
	return config, nil
}

// Explain says in an operator's words why a connection did not come about, and
// what to do.
func Explain(err error) string {
	var certificate *tls.CertificateVerificationError
	var record tls.RecordHeaderError
	var alert tls.AlertError
	var dns *net.DNSError
	switch {
	case errors.Is(err, ErrForbidden):
		return "is not to be dialled"
	case errors.As(err, &certificate):
		return "its certificate does not verify; set caFile if its authority is private"
	case errors.As(err, &record), errors.As(err, &alert), errors.Is(err, http.ErrSchemeMismatch):
		return "does not speak TLS as we do; check the target's url"
	case errors.As(err, &dns):
		return "its name does not resolve; check the target's url"
	default:
		return "cannot be reached"
	}
}
