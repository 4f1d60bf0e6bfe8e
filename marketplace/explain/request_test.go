package explain_test

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"unicode/utf16"

	"github.com/stretchr/testify/require"

	"github.com/openkoo/connector/marketplace/explain"
)

// awkward is a body with all that shells mind.
const awkward = `{"orgName":"研发!部 $5 \u0060x 100%PATH% \"q\" ^_^ it's","tenantId":"t1"}`

// awkwardCanonical is awkward as the marketplace signs it.
var awkwardCanonical = strings.ReplaceAll(awkward, `\u0060`, "`")

func signedHeaders() [][2]string {
	return [][2]string{{"content-type", "application/json"}, {"x-sign", sign(key + nonce + stamp + awkwardCanonical)}, {"x-nonce", nonce}, {"x-timestamp", stamp}}
}

const address = "https://isv.example.com/saasproduce/produceAPI/v2/singleOrgSync"

func raw(line string, more ...string) string {
	var b strings.Builder
	b.WriteString(line + "\r\nHost: isv.example.com\r\n")
	for _, h := range signedHeaders() {
		b.WriteString(h[0] + ": " + h[1] + "\r\n")
	}
	for _, header := range more {
		b.WriteString(header + "\r\n")
	}
	return b.String() + "\r\n" + awkward
}

// curlLine is a command line whose words are quoted by quote and which goes on
// by next.
func curlLine(program string, quote func(string) string, next string, flags ...string) string {
	words := []string{program, quote(address)}
	for _, h := range signedHeaders() {
		words = append(words, next+"-H "+quote(h[0]+": "+h[1]))
	}
	return strings.Join(append(words, append(flags, "--data-raw "+quote(awkward))...), " ")
}

func posix(word string) string { return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'" }

var caretted = regexp.MustCompile(`[^a-zA-Z0-9\s_\-:=+~'/.',?;()*` + "`" + `]`)

// chromeOnWindows quotes a word as "Copy as cURL (cmd)" does.
func chromeOnWindows(word string) string {
	word = strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(word)
	return `^"` + caretted.ReplaceAllString(word, "^$0") + `^"`
}

func powerShell(word string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "$", `\$`).Replace(word) + `"`
}

func utf16File(text string) string {
	b := []byte{0xFF, 0xFE}
	for _, unit := range utf16.Encode([]rune(text)) {
		b = append(b, byte(unit), byte(unit>>8))
	}
	return string(b)
}

func harFile(t *testing.T, text string, size int) string {
	var headers []map[string]string
	for _, h := range signedHeaders() {
		headers = append(headers, map[string]string{"name": h[0], "value": h[1]})
	}
	capture, err := json.Marshal(map[string]any{"log": map[string]any{"entries": []any{map[string]any{
		"startedDateTime": "2023-04-03T07:47:46.618Z", "response": map[string]any{},
		"request": map[string]any{"method": "POST", "url": address, "headers": headers, "postData": map[string]any{"text": text}, "bodySize": size},
	}}}})
	require.NoError(t, err)
	return string(capture)
}

// A call is read from whatever people have it in.
func TestCapturesOfAllKindsAreRead(t *testing.T) {
	t.Parallel()
	line := "POST /saasproduce/produceAPI/v2/singleOrgSync HTTP/1.1"
	length := fmt.Sprintf("Content-Length: %d", len(awkward))
	chunked := strings.Replace(raw(line, "Transfer-Encoding: chunked"), awkward, fmt.Sprintf("%x\r\n%s\r\n0\r\n\r\n", len(awkward), awkward), 1)
	for name, capture := range map[string]string{
		"a shell":                            curlLine("curl", posix, "\\\n  ", "--compressed", "--insecure"),
		"a shell, its prompt copied too":     "$ " + curlLine("curl", posix, ""),
		"flags without a value before words": strings.Replace(curlLine("curl -sSfL --http1.1 --no-buffer", posix, ""), "--data-raw", "-d", 1),
		"flags with a value":                 curlLine("curl -XPOST -u a:b -b c=d -A agent -o /dev/null -w '%{http_code}' --max-time 5", posix, ""),
		"--json":                             strings.Replace(curlLine("curl", posix, ""), "--data-raw", "--json", 1),
		"a browser on Windows":               curlLine("curl", chromeOnWindows, "^\r\n  "),
		"PowerShell":                         curlLine("curl.exe", powerShell, ""),
		"raw":                                raw(line, length),
		"raw with a line break behind it":    raw(line, length) + "\r\n",
		"raw with line feeds":                strings.ReplaceAll(raw(line, length), "\r\n", "\n"),
		"raw without a version":              raw("POST " + address),
		"raw in chunks":                      chunked,
		"a file with a byte order mark":      "\ufeff" + raw(line, length),
		"a file in UTF-16":                   utf16File(curlLine("curl", posix, "")),
		"a HAR file":                         harFile(t, awkward, len(awkward)),
		"a HAR file with a byte order mark":  "\ufeff" + harFile(t, awkward, -1),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			report := explained(t, capture)
			require.True(t, report.Valid, report.Findings)
			require.Contains(t, report.Steps[0].Text, "/saasproduce/produceAPI/v2/singleOrgSync", "the address is no flag's value")
		})
	}
}

func TestParametersThatCurlWritesAreRead(t *testing.T) {
	t.Parallel()
	request, err := explain.Parse([]byte("curl -sG " + address + " -d activity=queryInstance --data-urlencode 'authToken=a+b/c=' --data-urlencode 'name=研 发'"))
	require.NoError(t, err)
	require.Equal(t, "a+b/c=", request.URL.Query().Get("authToken"))
	require.Equal(t, "研 发", request.URL.Query().Get("name"))
	require.Equal(t, "GET", request.Method)
}

// What is signed as it was sent holds, though an editor has ended the file.
func TestABodyIsTakenAsItWasSent(t *testing.T) {
	t.Parallel()
	const spaced = "{ \"b\": 1, \"a\": 2 }\n"
	head := "POST /produceAPI/v2/singleOrgSync HTTP/1.1\nx-nonce: " + nonce + "\nx-timestamp: " + stamp + "\nx-sign: "
	bare := strings.TrimSpace(spaced)
	require.True(t, explained(t, head+sign(key+nonce+stamp+bare)+"\n\n"+spaced).Valid)
	require.True(t, explained(t, head+sign(key+nonce+stamp+spaced)+fmt.Sprintf("\nContent-Length: %d\n\n%s\n", len(spaced), spaced)).Valid)
}

func TestABodyThatIsNoneIsToldFromOneThatWasCutOff(t *testing.T) {
	t.Parallel()
	line := "POST /saasproduce/produceAPI/v2/singleOrgSync HTTP/1.1"
	length := fmt.Sprintf("Content-Length: %d", len(awkward))
	for cause, capture := range map[string]string{
		fmt.Sprintf("lacks 30 of the body's %d bytes", len(awkward)): raw(line, length)[:len(raw(line, length))-30],
		fmt.Sprintf("lacks 20 of the body's %d bytes", len(awkward)): harFile(t, awkward[:len(awkward)-20], len(awkward)),
		"byte order mark":     strings.Replace(raw(line), awkward, "\ufeff"+awkward, 1),
		"malformed JSON":      raw(line)[:len(raw(line))-30],
		"lacks 7 of the body": "POST /produceAPI/tenantSync HTTP/1.1\nauthToken: x\nContent-Length: 9\n\n{\"",
	} {
		report := explained(t, capture)
		require.False(t, report.Valid, cause)
		require.Contains(t, fmt.Sprint(report.Findings), cause)
	}
	_, err := explain.Parse([]byte(awkward))
	require.ErrorContains(t, err, "capture the headers and the address as well")
	_, err = explain.Parse([]byte("nonsense " + strings.Repeat("研", 500)))
	require.Less(t, len(err.Error()), 300)
}

func FuzzParse(f *testing.F) {
	f.Add(curlLine("curl", posix, ""))
	f.Add(curlLine("curl", chromeOnWindows, "^\r\n"))
	f.Add(raw("POST /x HTTP/1.1"))
	f.Add(utf16File("curl x"))
	f.Add("curl ^\"^")
	f.Fuzz(func(t *testing.T, capture string) {
		request, err := explain.Parse([]byte(capture))
		require.Equal(t, err == nil, request != nil)
	})
}
