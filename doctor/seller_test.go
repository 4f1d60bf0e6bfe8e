package doctor_test

import (
	"crypto/x509"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/openkoo/connector/doctor"
	"github.com/openkoo/connector/target/egress"
)

func TestTheSellersServerIsReachedAndToldNothing(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	silent := http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("the doctor has told something") })
	check := func(url, caFile string) doctor.Check {
		return doctor.CheckSeller(egress.Route{URL: url + "/hook?token=s3cret", CAFile: caFile, AllowPrivate: true})
	}
	well := a.server(t, silent, inAYear(), "seller.example.com")
	finds(t, check(well.URL, a.file), want{doctor.OK, "no event was sent"})
	finds(t, check(a.server(t, silent, time.Now().Add(73*time.Hour)).URL, a.file), want{doctor.Warning, "ends in 3 days"})
	for url, says := range map[string]string{
		well.URL:                       "its certificate does not verify",
		"http://" + nowhere:            "connection refused",
		"https://no-such-host.invalid": "does not resolve",
		"http://169.254.169.254":       "is not to be dialled",
	} {
		findings := finds(t, check(url, ""), want{doctor.Problem, says})
		require.Contains(t, findings[0].Next, "instances.webhookUrl")
		keepsSecret(t, findings, "s3cret")
	}
}

// Old roots that a server sends for old clients are no news.
func TestOnlyWhatATargetIsTrustedByCanEnd(t *testing.T) {
	t.Parallel()
	a, old := newAuthority(t), newAuthority(t)
	server := a.server(t, http.NotFoundHandler(), inAYear())
	ended := old.server(t, http.NotFoundHandler(), time.Now().Add(time.Hour))
	beside := ended.TLS.Certificates[0].Certificate[0]
	_, err := x509.ParseCertificate(beside)
	require.NoError(t, err)
	server.TLS.Certificates[0].Certificate = append(server.TLS.Certificates[0].Certificate, beside)
	finds(t, doctor.CheckSeller(egress.Route{URL: server.URL, CAFile: a.file, AllowPrivate: true}), want{doctor.OK, "can be reached"})
}
