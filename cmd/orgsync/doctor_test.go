package main

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/openkoo/connector/config"
	"github.com/openkoo/connector/doctor"
	"github.com/openkoo/connector/target/scim/scimserver"
)

// diagnosis runs the doctor and reads what it found.
func diagnosis(t *testing.T, args ...string) (result, []doctor.Finding) {
	t.Helper()
	r := run(t, nil, append([]string{"doctor", "--json"}, args...)...)
	var found struct {
		Level    doctor.Level
		Findings []doctor.Finding
	}
	require.NoError(t, json.Unmarshal([]byte(r.out), &found), "%v\n%s", r.err, r.out)
	require.Equal(t, doctor.Worst(found.Findings), found.Level)
	require.Equal(t, map[doctor.Level]int{doctor.OK: 0, doctor.Warning: 1, doctor.Problem: 2}[found.Level], r.code())
	return r, found.Findings
}

// toldOf are the findings of a check that are not OK.
func toldOf(findings []doctor.Finding, check string) (told []string) {
	for _, f := range findings {
		if f.Check == check && f.Level != doctor.OK {
			told = append(told, f.Message)
		}
	}
	return told
}

func TestTheDoctorFindsNothingInAHealthyWorld(t *testing.T) {
	t.Parallel()
	idp, err := scimserver.New(scimserver.Options{Token: "scim-s3cr3t"})
	require.NoError(t, err)
	listening := httptest.NewServer(idp)
	t.Cleanup(listening.Close)
	file := write(t, "orgsync.yaml", "targets: [{name: corp, type: scim, url: '"+listening.URL+"', auth: {type: bearer, token: scim-s3cr3t}}]\n")
	s := serve(t, "--config", file)

	r, findings := diagnosis(t, "--config", file, "--url", s.base, "--data-dir", s.dir)
	require.Equal(t, doctor.OK, doctor.Worst(findings), "%+v", findings)
	for _, name := range []string{config.AccessKeyFile, config.AdminTokenFile, config.EncryptionKeyFile} {
		secret, err := os.ReadFile(filepath.Join(s.dir, name))
		require.NoError(t, err)
		require.NotContains(t, r.out, strings.TrimSpace(string(secret)))
	}
	require.NotContains(t, r.out, "scim-s3cr3t")
	for name, n := range idp.Requests() {
		require.Regexp(t, "^(GET|HEAD) ", name, "%d times: a check changes nothing", n)
	}

	// People get the same, in lines that fit.
	r = run(t, nil, "doctor", "--config", file, "--url", s.base, "--data-dir", s.dir)
	require.NoError(t, r.err)
	require.Contains(t, r.out, "ok       target corp     answers and lets us in\n")
	require.Contains(t, r.out, "the connector that runs is ready; its sync state is unknown")
	require.True(t, strings.HasSuffix(r.out, "\n\nAll is well.\n"), r.out)
}

// The seller's server that is told of instances is looked at like a target.
func TestTheDoctorReachesTheSellersServer(t *testing.T) {
	t.Parallel()
	dir := dataDir(t)
	file := func(provisioner string) string {
		return write(t, "orgsync.yaml", "interfaces: {kitV2: false}\ninstances: {provisioner: webhook, webhookSecret: whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=, "+provisioner+"}\n")
	}
	r, findings := diagnosis(t, "--data-dir", dir, "--config", file("webhookUrl: 'http://127.0.0.1:1/hook?token=s3cr3t'"))
	require.Contains(t, strings.Join(toldOf(findings, "seller's server"), "\n"), "connection refused")
	require.NotContains(t, r.out, "s3cr3t")
	require.NotContains(t, r.out, "whsec_")
	for provisioner, says := range map[string]string{
		"webhookUrl: no address":                                         "instances.webhookUrl",
		"webhookUrl: 'http://seller.example.com'":                        "plaintext: true",
		"webhookUrl: 'https://seller.example.com', caFile: /nowhere.pem": "instances.caFile: ",
	} {
		_, findings = diagnosis(t, "--data-dir", dir, "--config", file(provisioner))
		require.Len(t, findings, 1, "what serve refuses, the doctor finds")
		require.Contains(t, strings.Join(toldOf(findings, "configuration"), "\n"), says)
	}
}

func TestTheDoctorSaysWhatIsWrong(t *testing.T) {
	t.Parallel()
	s := serve(t)
	_, findings := diagnosis(t, "--url", closedPort, "--data-dir", s.dir)
	require.Contains(t, strings.Join(toldOf(findings, "store"), "\n"), "a process holds the data directory, and no connector answers at http://127.0.0.1:")

	wrong := write(t, "wrong", "a-wrong-token\n")
	_, findings = diagnosis(t, "--url", s.base, "--data-dir", s.dir, "--token-file", wrong)
	require.Contains(t, strings.Join(toldOf(findings, "store"), "\n"), "does not take the admin token")

	_, findings = diagnosis(t, "--url", s.base, "--data-dir", s.dir, "--public-url", s.base+"/saasproduce")
	require.Len(t, toldOf(findings, "public address"), 3, "no HTTPS, a port, an IP address; and it reaches us")
	_, findings = diagnosis(t, "--url", s.base, "--data-dir", s.dir, "--public-url", s.base+"/elsewhere")
	require.Contains(t, strings.Join(toldOf(findings, "public address"), "\n"), "has no interface there (HTTP 404)")

	faulty := write(t, "orgsync.yaml", "lisen: 1\nlog: {level: loud}\npublicUrl: isv.example.com\ntargets: [{name: a, type: scim, url: ftp://x, timeout: -1s}]\n")
	_, findings = diagnosis(t, "--config", faulty)
	require.Len(t, toldOf(findings, "configuration"), 5, "%+v", findings)

	r := run(t, nil, "doctor", "--config", faulty)
	require.Equal(t, 2, r.code())
	require.Contains(t, r.out, `problem  configuration  log.level: "loud": want debug, info, warn, error`)
	require.Contains(t, r.out, "\n5 problems, 0 warnings.\n")
	require.ErrorContains(t, run(t, nil, "doctor", "--timeout", "0s").err, "--timeout")
	require.ErrorContains(t, run(t, nil, "doctor", "--data-dir", s.dir, "--token-file", "none").err, "admin token")
}

func TestTheDoctorMakesNothing(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "data")
	_, findings := diagnosis(t, "--data-dir", dir)
	require.Contains(t, strings.Join(toldOf(findings, "keys"), "\n"), "not there yet: ")
	require.NoDirExists(t, dir)
}

func TestTheDoctorLooksAtTheKeys(t *testing.T) {
	t.Parallel()
	dir := dataDir(t)
	_, findings := diagnosis(t, "--data-dir", dir)
	require.Empty(t, toldOf(findings, "keys"))

	require.NoError(t, os.WriteFile(filepath.Join(dir, config.EncryptionKeyFile), []byte("c2hvcnQ=\n"), 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(dir, config.AccessKeyFile), []byte("short\n"), 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(dir, config.AdminTokenFile), nil, 0o600))
	require.NoError(t, os.Chmod(filepath.Join(dir, config.PrivateKeyFile), 0o640))
	r, findings := diagnosis(t, "--data-dir", dir)
	told := strings.Join(toldOf(findings, "keys"), "\n")
	for _, want := range []string{
		"encryption-key: want Base64 of 32 bytes", "kit-access-key: shorter than 8", "admin-token: the file is empty", "app-private-key.pem may be read by others (mode 0640)",
	} {
		require.Contains(t, told, want)
	}
	require.NotContains(t, r.out, "c2hvcnQ=")

	key, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	short := write(t, "short.pem", string(pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)})))
	_, findings = diagnosis(t, "--data-dir", dataDir(t), "--config", write(t, "orgsync.yaml", "appPrivateKeyFile: "+short+"\n"))
	require.Contains(t, strings.Join(toldOf(findings, "keys"), "\n"), "private key: 2048 bits; the marketplace wants at least 3072")
}
