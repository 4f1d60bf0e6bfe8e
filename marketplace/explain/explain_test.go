package explain_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/openkoo/connector/marketplace/explain"
)

const (
	key   = "AbC-access-key"
	nonce = "50D83FDECAED6CCD"
	stamp = "1680508066618"
	body  = `{"tenantId":"t/1","flag":1,"orgName":"研发 <R&D>","list":[{"z":1,"a":"x"}]}`
	// canonical is body as the guide's reference server writes it.
	canonical = `{"flag":1,"list":[{"z":1,"a":"x"}],"orgName":"研发 <R&D>","tenantId":"t/1"}`
)

var sent = time.UnixMilli(1680508066618)

func mac(key, text string) []byte {
	h := hmac.New(sha256.New, []byte(key))
	h.Write([]byte(text))
	return h.Sum(nil)
}

func sign(text string) string { return hex.EncodeToString(mac(key, text)) }

func curl(signature, body string) string {
	return fmt.Sprintf("curl -X POST 'https://isv.example.com/saasproduce/produceAPI/v2/singleOrgSync' \\\n -H 'x-sign: %s' -H 'x-timestamp: %s' \\\n -H 'x-nonce: %s' --compressed --data-raw '%s'", signature, stamp, nonce, body)
}

func explained(t require.TestingT, capture string, keys ...string) *explain.Report {
	request, err := explain.Parse([]byte(capture))
	require.NoError(t, err)
	if keys == nil {
		keys = []string{key}
	}
	report, err := explain.Explain(request, keys, time.Minute, sent)
	require.NoError(t, err)
	return report
}

func TestEveryMistakeIsRecognised(t *testing.T) {
	t.Parallel()
	front := key + nonce + stamp
	for cause, signature := range map[string]string{
		"sorted from Z to A":                     sign(front + `{"tenantId":"t/1","orgName":"研发 <R&D>","list":[{"z":1,"a":"x"}],"flag":1}`),
		`written as \uXXXX`:                      sign(front + strings.ReplaceAll(canonical, "研发", `\u7814\u53d1`)),
		`written as \u003c`:                      sign(front + strings.NewReplacer("<", `\u003c`, ">", `\u003e`, "&", `\u0026`).Replace(canonical)),
		`/ is written as \/`:                     sign(front + strings.ReplaceAll(canonical, "/", `\/`)),
		"white space stands behind":              sign(front + `{"tenantId": "t/1", "flag": 1, "orgName": "研发 <R&D>", "list": [{"z": 1, "a": "x"}]}`),
		"nested objects are sorted too":          sign(front + strings.ReplaceAll(canonical, `{"z":1,"a":"x"}`, `{"a":"x","z":1}`)),
		"not signed at all":                      sign(front),
		"A line break stands behind the payload": sign(front + canonical + "\n"),
		"access key is missing":                  sign(nonce + stamp + canonical),
		"Nonce and timestamp are mixed up":       sign(key + stamp + nonce + canonical),
		"access key stands behind nonce":         sign(nonce + stamp + key + canonical),
		"timestamp is not signed":                sign(key + nonce + canonical),
		"Only the payload is signed":             sign(canonical),
		"other interface family":                 sign(front + sign(canonical)),
		"V1 takes key + timestamp":               hex.EncodeToString(mac(key+stamp, front+canonical)),
		"line break at its end":                  hex.EncodeToString(mac(key+"\n", key+"\n"+nonce+stamp+canonical)),
		"in lower case":                          hex.EncodeToString(mac(strings.ToLower(key), strings.ToLower(key)+nonce+stamp+canonical)),
		"signature is Base64":                    base64.StdEncoding.EncodeToString(mac(key, front+canonical)),
		"another access key":                     hex.EncodeToString(mac("other", "other"+nonce+stamp+canonical)),
	} {
		t.Run(cause, func(t *testing.T) {
			t.Parallel()
			report := explained(t, curl(signature, body))
			require.False(t, report.Valid)
			require.Len(t, report.Findings, 1)
			require.Contains(t, report.Findings[0].Cause, cause)
			require.NotEmpty(t, report.Findings[0].Remedy)
		})
	}
}

func TestTheVectorsHold(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../testdata/signatures.json")
	require.NoError(t, err)
	var vectors struct {
		Signatures []struct {
			Name, AccessKey, Nonce, Timestamp, Body, KitV2Sign, BaseV2Signature string
		}
	}
	require.NoError(t, json.Unmarshal(text, &vectors))
	for _, v := range vectors.Signatures {
		kit := "POST /produceAPI/v2/x HTTP/1.1\nHost: h\nX-Sign: " + strings.ToUpper(v.KitV2Sign) + "\nX-Nonce: " + v.Nonce + "\nX-Timestamp: " + v.Timestamp + "\n\n" + v.Body
		base := "POST /saas?" + url.Values{"signature": {v.BaseV2Signature}, "nonce": {v.Nonce}, "timestamp": {v.Timestamp}}.Encode() + " HTTP/1.1\r\nHost: h\r\n\r\n" + v.Body
		for _, capture := range []string{kit, base} {
			request, err := explain.Parse([]byte(capture))
			require.NoError(t, err)
			report, err := explain.Explain(request, []string{"older", v.AccessKey}, 100*365*24*time.Hour, time.Time{})
			require.NoError(t, err)
			require.True(t, report.Valid, v.Name)
			require.Empty(t, report.Findings)
		}
	}
}

func TestTheClockIsLookedAt(t *testing.T) {
	t.Parallel()
	request, err := explain.Parse([]byte(curl(sign(key+nonce+stamp+canonical), body)))
	require.NoError(t, err)
	report, err := explain.Explain(request, []string{key}, time.Minute, sent.Add(5*time.Minute))
	require.NoError(t, err)
	require.False(t, report.Valid)
	require.Contains(t, report.Findings[0].Cause, "5m0s away")
	request.Header.Set("x-timestamp", stamp[:10])
	report, err = explain.Explain(request, []string{key}, time.Minute, sent)
	require.NoError(t, err)
	require.Contains(t, fmt.Sprint(report.Findings), "10 digits")
}

func TestAHARFileIsSearchedForTheCall(t *testing.T) {
	t.Parallel()
	capture := fmt.Sprintf(`{"log":{"entries":[
		{"startedDateTime":"2023-04-03T07:47:00Z","request":{"method":"GET","url":"https://x/"}},
		{"startedDateTime":"2023-04-03T07:47:47Z","request":{"method":"POST","url":"https://x/produceAPI/v2/singleOrgSync",
		 "headers":[{"name":"X-Sign","value":%q},{"name":"x-nonce","value":%q},{"name":"x-timestamp","value":%q}],"postData":{"text":%q}}}]}}`,
		sign(key+nonce+stamp+canonical), nonce, stamp, body)
	request, err := explain.Parse([]byte(capture))
	require.NoError(t, err)
	report, err := explain.Explain(request, []string{key}, time.Minute, time.Time{})
	require.NoError(t, err)
	require.True(t, report.Valid)
}

func TestWhatIsNoCallIsRefused(t *testing.T) {
	t.Parallel()
	for name, capture := range map[string]string{
		"empty":            " ",
		"words":            "hello world",
		"an empty archive": `{"log":{"entries":[]}}`,
		"broken archive":   `{"log":`,
		"body in a file":   "curl -d @body.json https://x/produceAPI/v2/x",
		"open quote":       "curl 'https://x",
	} {
		_, err := explain.Parse([]byte(capture))
		require.Error(t, err, name)
	}
	request, err := explain.Parse([]byte("curl https://example.com/"))
	require.NoError(t, err)
	_, err = explain.Explain(request, []string{key}, time.Minute, sent)
	require.ErrorContains(t, err, "x-sign")
	_, err = explain.Explain(request, nil, time.Minute, sent)
	require.ErrorContains(t, err, "no access key")
}

func TestWhatIsMissingIsNamed(t *testing.T) {
	t.Parallel()
	report := explained(t, "curl https://x/produceAPI/v2/singleOrgSync -d '[1]'")
	require.False(t, report.Valid)
	require.Contains(t, fmt.Sprint(report.Findings), "x-sign is missing")
	require.Contains(t, fmt.Sprint(report.Findings), "The body cannot be read")
}

// A report may be pasted into a ticket.
func TestNoReportTellsTheKey(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(r *rapid.T) {
		secret := rapid.StringMatching(`[a-z0-9]{16,32}`).Draw(r, "key")
		name := rapid.String().Draw(r, "name")
		quoted, err := json.Marshal(name)
		require.NoError(r, err)
		raw := "POST /produceAPI/v2/x HTTP/1.1\nX-Sign: " + rapid.StringMatching(`[0-9a-f]{64}`).Draw(r, "sign") +
			"\nX-Nonce: n\nX-Timestamp: " + stamp + "\n\n" + `{"name":` + string(quoted) + `}`
		report := explained(r, raw, secret)
		require.NotContains(r, fmt.Sprintf("%+v", report), secret)
	})
}

// Browsers copy what has quotes in it as $'…'.
func TestACurlLineOfABrowserIsRead(t *testing.T) {
	t.Parallel()
	quoted := strings.NewReplacer("'", `\'`, "研", `\u7814`).Replace(`{"orgName":"it's 研发"}`)
	line := "curl 'https://x/produceAPI/v2/singleOrgSync' --http2 -H 'X-Sign: " + sign(key+nonce+stamp+`{"orgName":"it's 研发"}`) +
		"' -H $'x-nonce: " + nonce + "' -H 'x-timestamp: " + stamp + "' --data-raw $'" + quoted + "'"
	require.True(t, explained(t, line).Valid)
}
