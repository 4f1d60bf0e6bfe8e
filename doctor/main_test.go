package doctor_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/openkoo/connector/doctor"
	"github.com/openkoo/connector/storage/mongo/mongotest"
)

// shared is a server that all tests of MongoDB use, each with a database of its own.
var shared *mongotest.Server

func TestMain(m *testing.M) {
	code := 1
	var err error
	if shared, err = mongotest.Start(context.Background()); err == nil {
		code = m.Run()
		err = shared.Stop()
	}
	if err == nil && code == 0 {
		err = goleak.Find()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

// examined runs one check.
func examined(t *testing.T, check doctor.Check) []doctor.Finding {
	t.Helper()
	findings := doctor.Examine(t.Context(), []doctor.Check{check}, time.Minute)
	for _, f := range findings {
		require.Equal(t, check.Name, f.Check)
		require.NotEmpty(t, f.Message)
		require.Equal(t, f.Level == doctor.OK, f.Next == "", "what is not well has a next step: %+v", f)
	}
	return findings
}

// want is the level of a finding and a part of what it says.
type want struct {
	level doctor.Level
	says  string
}

// finds asserts that a check finds exactly that.
func finds(t *testing.T, check doctor.Check, wanted ...want) []doctor.Finding {
	t.Helper()
	findings := examined(t, check)
	require.Len(t, findings, len(wanted), "%+v", findings)
	for i, w := range wanted {
		require.Equal(t, w.level, findings[i].Level, "%+v", findings[i])
		require.Contains(t, findings[i].Message, w.says)
	}
	return findings
}

// authority signs certificates.
type authority struct {
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
	file        string
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test authority"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().AddDate(-2, 0, 0), NotAfter: time.Now().AddDate(2, 0, 0), KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	require.NoError(t, err)
	certificate, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	file := filepath.Join(t.TempDir(), "ca.pem")
	require.NoError(t, os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600))
	return &authority{certificate: certificate, key: key, file: file}
}

func (a *authority) pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(a.certificate)
	return pool
}

// server serves TLS with a certificate for names that ends when it is told.
func (a *authority) server(t *testing.T, handler http.Handler, ends time.Time, names ...string) *httptest.Server {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(2), DNSNames: names, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().AddDate(-1, 0, 0), NotAfter: ends, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.certificate, key.Public(), a.key)
	require.NoError(t, err)
	s := httptest.NewUnstartedServer(handler)
	s.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	s.TLS = &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}, MinVersion: tls.VersionTLS12}
	s.StartTLS()
	t.Cleanup(s.Close)
	return s
}

// inAYear is when a certificate ends that nobody need worry about.
func inAYear() time.Time { return time.Now().AddDate(1, 0, 0) }

// nowhere is where nobody listens. A port that was free a moment ago may be
// another test's.
const nowhere = "127.0.0.1:1"

// keepsSecret asserts that no finding holds a secret.
func keepsSecret(t *testing.T, findings []doctor.Finding, secrets ...string) {
	t.Helper()
	for _, secret := range secrets {
		require.NotContains(t, fmt.Sprintf("%+v", findings), secret)
	}
}
