package main

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// explained runs the command over a raw call signed with text.
func explained(t *testing.T, signed, key string, args ...string) (string, error) {
	t.Helper()
	mac := hmac.New(sha256.New, []byte("the-access-key"))
	mac.Write([]byte(signed))
	call := fmt.Sprintf("POST /saasproduce/produceAPI/v2/tenantSync HTTP/1.1\nHost: isv.example.com\nx-nonce: n1\nx-timestamp: 1680508066618\nx-sign: %s\n\n%s",
		hex.EncodeToString(mac.Sum(nil)), `{"a":1}`)
	file := filepath.Join(t.TempDir(), "key")
	require.NoError(t, os.WriteFile(file, []byte(key+"\n"), 0o600))
	root := rootCommand(nil)
	var out bytes.Buffer
	root.SetOut(&out)
	root.SetErr(&out)
	root.SetIn(strings.NewReader(call))
	root.SetArgs(append([]string{"explain-signature", "-", "--key-file", file}, args...))
	err := root.Execute()
	return out.String(), err
}

func TestExplainSignature(t *testing.T) {
	t.Parallel()
	const at = "2023-04-03T07:47:46Z"
	out, err := explained(t, `the-access-keyn11680508066618{"a":1}`, "the-access-key", "--at", at)
	require.NoError(t, err)
	require.Contains(t, out, "The signature holds.")
	require.NotContains(t, out, "the-access-key")

	out, err = explained(t, `n11680508066618{"a":1}`, "the-access-key", "--at", at)
	require.Equal(t, exitError(2), err)
	require.Contains(t, out, "Cause:  The access key is missing in front of the signed text.")
	require.Contains(t, out, "Remedy: Sign accessKey + nonce + timestamp + payload")

	out, err = explained(t, `the-access-keyn11680508066618{"a":1}`, "the-access-key")
	require.Equal(t, exitError(2), err, "an old capture is too old now")
	require.Contains(t, out, "--at")

	_, err = explained(t, "", "", "--at", at)
	require.ErrorContains(t, err, "is empty")
	_, err = explained(t, "", "k", "--at", "yesterday")
	require.ErrorContains(t, err, "want a time such as")
	_, err = explained(t, "", "k", "--window", "x")
	require.ErrorContains(t, err, "explain-signature --help")
}

// The base interface may have keys of its own.
func TestExplainSignatureKnowsTheKeysOfBothInterfaces(t *testing.T) {
	t.Parallel()
	mac := hmac.New(sha256.New, []byte("the-base-key"+"20230403074746618"))
	mac.Write([]byte("activity=queryInstance&instanceId=i1&timeStamp=20230403074746618"))
	call := write(t, "call", "curl 'https://isv.example.com/saasproduce?timeStamp=20230403074746618&activity=queryInstance&instanceId=i1&authToken="+
		url.QueryEscape(base64.StdEncoding.EncodeToString(mac.Sum(nil)))+"'")
	environ := []string{"ORGSYNC_KIT_ACCESS_KEYS=the-kit-key", "ORGSYNC_BASE_ACCESS_KEYS=the-base-key"}
	r := run(t, environ, "explain-signature", call)
	require.NoError(t, r.err, r.out)
	require.Contains(t, r.out, "base V1, GET /saasproduce")
	require.Contains(t, r.out, "the authToken holds, made with key 2")
	require.Contains(t, r.out, "The signature holds.")
	r = run(t, environ[:1], "explain-signature", call)
	require.Equal(t, 2, r.code())
	require.Contains(t, r.out, "most likely another access key made it")
}
