package explain_test

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/openkoo/connector/marketplace"
	"github.com/openkoo/connector/marketplace/explain"
)

const (
	stampV1 = "20230403074746618"
	bodyV1  = `{"tenantId":"t/1","timeStamp":"20230403074746618","Flag":1,"flag":1,"name":"研发 <R&D>","empty":"","list":[{"z":1,"a":"x"}]}`
	joined  = `Flag=1&empty=&flag=1&list=[{"z":1,"a":"x"}]&name=研发 <R&D>&tenantId=t/1&timeStamp=20230403074746618`
	// queryV1 is unsorted and encoded, as a URL is.
	queryV1  = `timeStamp=20230403074746618&activity=newInstance&orderId=CS%2B1%2F2&customerName=%E4%BC%81%E4%B8%9A&memo=a+b&skuCode=`
	joinedV1 = `activity=newInstance&customerName=企业&memo=a b&orderId=CS+1/2&skuCode=&timeStamp=20230403074746618`
)

func token(hmacKey, text string) string {
	return base64.StdEncoding.EncodeToString(mac(hmacKey, text))
}

func kitCall(token string) string {
	return "POST /saasproduce/produceAPI/tenantSync HTTP/1.1\nHost: isv.example.com\nauthToken: " + token + "\n\n" + bodyV1
}

func baseCall(token string) string {
	return "curl 'https://isv.example.com/saasproduce?" + queryV1 + "&authToken=" + url.QueryEscape(token) + "'"
}

func TestTheV1VectorsHold(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../testdata/signatures.json")
	require.NoError(t, err)
	var vectors struct {
		Signatures []struct{ Name, AccessKey, Body, V1Joined, V1AuthToken string }
	}
	require.NoError(t, json.Unmarshal(text, &vectors))
	seen := 0
	for _, v := range vectors.Signatures {
		if v.V1AuthToken == "" || !strings.Contains(v.V1Joined, "timeStamp=") {
			continue
		}
		seen++
		report := explained(t, "POST /produceAPI/x HTTP/1.1\r\nHost: h\r\nAuthToken: "+v.V1AuthToken+"\r\n\r\n"+v.Body, "older", v.AccessKey)
		require.True(t, report.Valid, "%s: %+v", v.Name, report)
	}
	require.Positive(t, seen)
}

func TestEveryV1MistakeIsRecognised(t *testing.T) {
	t.Parallel()
	const right = key + stampV1
	for cause, call := range map[string]string{
		"sorted without regard to case": kitCall(token(right, strings.Replace(joined, "Flag=1&empty=&flag=1", "empty=&Flag=1&flag=1", 1))),
		"sorted from Z to A":            kitCall(token(right, `timeStamp=20230403074746618&tenantId=t/1&name=研发 <R&D>&list=[{"z":1,"a":"x"}]&flag=1&empty=&Flag=1`)),
		"are empty are left out":        kitCall(token(right, strings.Replace(joined, "empty=&", "", 1))),
		"timeStamp is not among":        kitCall(token(right, strings.TrimSuffix(joined, "&timeStamp="+stampV1))),
		"joined without &":              baseCall(token(right, strings.ReplaceAll(joinedV1, "&", ""))),
		"signed as it is, as JSON":      kitCall(token(right, bodyV1)),
		"sorted JSON is signed":         kitCall(token(right, `{"Flag":1,"empty":"","flag":1,"list":[{"z":1,"a":"x"}],"name":"研发 <R&D>","tenantId":"t/1","timeStamp":"20230403074746618"}`)),
		"nested objects are sorted too": kitCall(token(right, strings.Replace(joined, `{"z":1,"a":"x"}`, `{"a":"x","z":1}`, 1))),
		"white space stands behind":     kitCall(token(right, strings.Replace(joined, `[{"z":1,"a":"x"}]`, `[{"z": 1, "a": "x"}]`, 1))),
		`/ is written as \/`:            kitCall(token(right, strings.Replace(joined, "t/1", `t\/1`, 1))),
		"access key alone":              kitCall(token(key, joined)),
		"mixed up in the HMAC's key":    kitCall(token(stampV1+key, joined)),
		"timeStamp alone":               baseCall(token(stampV1, joinedV1)),
		"Something stands between":      baseCall(token(key+"&"+stampV1, joinedV1)),
		"line break at its end":         baseCall(token(key+"\n"+stampV1, joinedV1)),
		"in lower case":                 baseCall(token(strings.ToLower(key)+stampV1, joinedV1)),
		"are not sorted":                baseCall(token(right, "timeStamp=20230403074746618&activity=newInstance&orderId=CS+1/2&customerName=企业&memo=a b&skuCode=")),
		"as they are written in the URL": baseCall(token(right,
			"activity=newInstance&customerName=%E4%BC%81%E4%B8%9A&memo=a+b&orderId=CS%2B1%2F2&skuCode=&timeStamp=20230403074746618")),
		"parameters are signed encoded": baseCall(token(right,
			"activity=newInstance&customerName=%E4%BC%81%E4%B8%9A&memo=a%20b&orderId=CS%2B1%2F2&skuCode=&timeStamp=20230403074746618")),
		"authToken is URL-encoded twice": baseCall(url.QueryEscape(token(right, joinedV1))),
		"An empty authToken is among":    "curl 'https://x/saas?activity=a&timeStamp=" + stampV1 + "&authToken=" + url.QueryEscape(token(right, "activity=a&authToken=&timeStamp="+stampV1)) + "'",
		"authToken is hexadecimal":       baseCall(hex.EncodeToString(mac(right, joinedV1))),
		"Base64 of the hexadecimal":      baseCall(base64.StdEncoding.EncodeToString([]byte(hex.EncodeToString(mac(right, joinedV1))))),
		"lacks its =":                    baseCall(strings.TrimRight(token(right, joinedV1), "=")),
		"another access key":             baseCall(token("other"+stampV1, joinedV1)),
		"authToken is missing":           baseCall(""),
	} {
		t.Run(cause, func(t *testing.T) {
			t.Parallel()
			request, err := explain.Parse([]byte(call))
			require.NoError(t, err)
			at := sent // where timeStamp is UTC; the kit's is UTC+8
			if request.Method == http.MethodPost {
				at = at.Add(-8 * time.Hour)
			}
			report, err := explain.Explain(request, []string{key}, time.Minute, at)
			require.NoError(t, err)
			require.False(t, report.Valid)
			require.Len(t, report.Findings, 1, "%+v", report.Findings)
			require.Contains(t, report.Findings[0].Cause, cause)
			require.NotEmpty(t, report.Findings[0].Remedy)
			require.NotContains(t, fmt.Sprintf("%+v", report), key+stampV1)
		})
	}
}

// What was signed is what is left after one decoding more.
func TestParametersThatAreEncodedTwiceAreRecognised(t *testing.T) {
	t.Parallel()
	signed := "activity=newInstance&customerName=企业&timeStamp=" + stampV1
	twice := url.QueryEscape(url.QueryEscape("企业"))
	report := explained(t, "curl -G https://isv.example.com/saas -d activity=newInstance -d customerName="+twice+" -d timeStamp="+stampV1+
		" -d authToken="+url.QueryEscape(token(key+stampV1, signed)))
	require.False(t, report.Valid)
	require.Contains(t, report.Findings[0].Cause, "URL-encoded twice")
}

func TestAV1CallThatHoldsIsShownStepByStep(t *testing.T) {
	t.Parallel()
	for joinedText, call := range map[string]string{joined: kitCall(token(key+stampV1, joined)), joinedV1: baseCall(token(key+stampV1, joinedV1))} {
		report := explained(t, call, "newer", key)
		require.True(t, report.Valid)
		text := fmt.Sprintf("%+v", report.Steps)
		require.Contains(t, text, joinedText)
		require.Contains(t, text, "accessKey + timeStamp")
		require.Contains(t, text, "the authToken holds, made with key 2")
	}
	// A "+" that nobody escaped arrives as a space.
	bare := "curl 'https://isv.example.com/saasproduce?" + queryV1 + "&authToken=" + token(key+stampV1, joinedV1) + "'"
	require.True(t, explained(t, bare).Valid)
}

// The base interface writes UTC, the kit UTC+8 (spec/marketplace.md §1.4).
func TestATimeStampInTheWrongZoneIsNoticed(t *testing.T) {
	t.Parallel()
	made := time.Date(2023, 4, 3, 7, 47, 46, 0, time.UTC)
	for _, c := range []struct {
		capture string
		at      time.Time
		off     bool
	}{
		{baseCall(token(key+stampV1, joinedV1)), made, false},
		{baseCall(token(key+stampV1, joinedV1)), made.Add(-8 * time.Hour), true},
		{kitCall(token(key+stampV1, joined)), made.Add(-8 * time.Hour), false},
		{kitCall(token(key+stampV1, joined)), made, true},
		{kitCall(token(key+stampV1, joined)), made.AddDate(0, 1, 0), false}, // old captures are no fault
	} {
		request, err := explain.Parse([]byte(c.capture))
		require.NoError(t, err)
		report, err := explain.Explain(request, []string{key}, time.Minute, c.at)
		require.NoError(t, err)
		require.True(t, report.Valid)
		require.Equal(t, c.off, strings.Contains(fmt.Sprint(report.Findings), "8 hours off"), "%+v", report.Findings)
	}
	report := explained(t, "curl 'https://x/saas?activity=a&timeStamp=now&authToken=x'")
	require.Contains(t, fmt.Sprint(report.Findings), "is no time")
	report = explained(t, "curl 'https://x/saas?activity=a&authToken=x'")
	require.Contains(t, fmt.Sprint(report.Findings), "timeStamp is missing")
	report = explained(t, "POST /produceAPI/tenantSync HTTP/2\nauthToken: x\n\n[1]")
	require.Contains(t, fmt.Sprint(report.Findings), "cannot be read")
}

const answerBody = `{"resultCode":"000000","resultMsg":"success.","url":"https://x/<y>"}`

func answer(header, body string) string {
	return "HTTP/2 200\r\ncontent-type: application/json\r\n" + header + "\r\n\r\n" + body
}

func TestTheAnswersBodySign(t *testing.T) {
	t.Parallel()
	right := marketplace.BodySign(key, []byte(answerBody))
	form := func(signature string) string {
		return `Body-Sign: sign_type="HMAC-SHA256", signature="` + signature + `"`
	}
	require.True(t, explained(t, answer("Body-Sign: "+right, answerBody)).Valid)
	require.True(t, explained(t, answer("Body-Sign: "+right, answerBody+"\n")).Valid, "the terminal's line break")
	ended := answerBody + "\n"
	require.True(t, explained(t, answer("Body-Sign: "+marketplace.BodySign(key, []byte(ended)), ended)).Valid)
	require.True(t, explained(t, answer(fmt.Sprintf("Content-Length: %d\r\nBody-Sign: %s", len(answerBody), right), answerBody+"\n\n")).Valid)

	for cause, capture := range map[string]string{
		"has no header Body-Sign":       answer("X-Other: 1", answerBody),
		"does not have its form":        answer("Body-Sign: sign_type=HMAC-SHA256, signature="+token(key, answerBody), answerBody),
		"Another writing of the answer": answer(form(token(key, strings.ReplaceAll(answerBody, "<y>", `\u003cy\u003e`))), answerBody),
		"An empty body is signed":       answer(form(token(key, "")), answerBody),
		"is not plain Base64":           answer(form(hex.EncodeToString(mac(key, answerBody))), answerBody),
		"line break at its end":         answer(form(token(key+"\n", answerBody)), answerBody),
		"another access key made it":    answer(form(token("other", answerBody)), answerBody),
	} {
		t.Run(cause, func(t *testing.T) {
			t.Parallel()
			report := explained(t, capture)
			require.False(t, report.Valid)
			require.Len(t, report.Findings, 1, "%+v", report.Findings)
			require.Contains(t, report.Findings[0].Cause, cause)
		})
	}
}

// A HAR file holds the call and its answer.
func TestAHARFileShowsTheAnswerToo(t *testing.T) {
	t.Parallel()
	capture := func(signature, encoding string) string {
		content := answerBody
		if encoding == "base64" {
			content = base64.StdEncoding.EncodeToString([]byte(answerBody))
		}
		return fmt.Sprintf(`{"log":{"entries":[{"startedDateTime":"2023-04-03T07:47:47Z",
			"request":{"method":"GET","url":"https://x/saas?%s&authToken=%s","headers":[]},
			"response":{"status":200,"headers":[{"name":"body-sign","value":%q}],"content":{"text":%q,"encoding":%q}}}]}}`,
			queryV1, url.QueryEscape(token(key+stampV1, joinedV1)), signature, content, encoding)
	}
	for _, encoding := range []string{"", "base64"} {
		report := explained(t, capture(marketplace.BodySign(key, []byte(answerBody)), encoding))
		require.True(t, report.Valid, "%+v", report.Findings)
		report = explained(t, capture(marketplace.BodySign(key+stampV1, []byte(answerBody)), encoding))
		require.False(t, report.Valid)
		require.Contains(t, fmt.Sprint(report.Findings), "as the call is")
	}
	_, err := explain.Parse([]byte(strings.Replace(capture("x", "base64"), `"text":"`, `"text":"!`, 1)))
	require.ErrorContains(t, err, "entry 1")
}

func TestNoV1ReportTellsTheKey(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(r *rapid.T) {
		secret := rapid.StringMatching(`[a-z0-9]{16,32}`).Draw(r, "key")
		value := rapid.StringMatching(`[ -~]{0,20}`).Draw(r, "value")
		query := url.Values{"activity": {value}, "timeStamp": {stampV1}, "authToken": {rapid.StringMatching(`[A-Za-z0-9+/]{43}=`).Draw(r, "token")}}
		request, err := explain.Parse([]byte("GET /saas?" + query.Encode() + " HTTP/1.1\nHost: x\n"))
		require.NoError(r, err)
		request.Answer = &explain.Answer{Body: []byte(value)}
		report, err := explain.Explain(request, []string{secret}, time.Minute, sent)
		require.NoError(r, err)
		require.NotContains(r, fmt.Sprintf("%+v", report), secret)
	})
}
