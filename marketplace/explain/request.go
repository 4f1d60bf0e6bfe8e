// Package explain takes a captured call apart: what was signed, what should
// have been signed, and which mistake would have made the signature it carries.
package explain

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/spf13/pflag"
	"mvdan.cc/sh/v3/shell"
)

// maxCapture bounds a capture, in bytes.
const maxCapture = 64 << 20

// Request is a captured call.
type Request struct {
	Method string
	URL    *url.URL
	Header http.Header
	Body   []byte
	// At is when it was captured, zero where the capture does not say.
	At time.Time
	// Answer is what it was answered, nil where the capture does not say. A
	// capture of an answer alone has no Method.
	Answer *Answer
}

// Parse reads a capture: a curl command line, a HAR file (its first call of a
// production address), or a raw HTTP/1.1 request or answer.
func Parse(text []byte) (*Request, error) {
	if len(text) > maxCapture {
		return nil, fmt.Errorf("the capture is larger than %d MiB", maxCapture>>20)
	}
	trimmed := bytes.TrimSpace(text)
	switch {
	case len(trimmed) == 0:
		return nil, errors.New("the capture is empty; want a curl command line, a HAR file, or a raw HTTP request")
	case trimmed[0] == '{':
		return parseHAR(trimmed)
	case bytes.HasPrefix(trimmed, []byte("curl")):
		return parseCurl(string(trimmed))
	case bytes.HasPrefix(trimmed, []byte("HTTP/")):
		return parseAnswer(bytes.TrimLeft(text, " \t\r\n"))
	default:
		return parseRaw(trimmed)
	}
}

// split takes a raw message apart, whichever line breaks it has after it was
// copied. The head is as HTTP wants it.
func split(text []byte) (head, body []byte) {
	head, body, found := bytes.Cut(text, []byte("\r\n\r\n"))
	if !found {
		head, body, _ = bytes.Cut(text, []byte("\n\n"))
	}
	head = bytes.ReplaceAll(bytes.ReplaceAll(bytes.TrimSpace(head), []byte("\r\n"), []byte("\n")), []byte("\n"), []byte("\r\n"))
	return append(head, "\r\n\r\n"...), body
}

func parseRaw(text []byte) (*Request, error) {
	head, body := split(text)
	// Copied from a browser it may say HTTP/2, as no request does on the wire.
	line, rest, _ := bytes.Cut(head, []byte("\r\n"))
	if http2, ok := bytes.CutSuffix(line, []byte(" HTTP/2")); ok {
		head = slices.Concat(http2, []byte(" HTTP/1.1\r\n"), rest)
	}
	request, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(head)))
	if err != nil {
		return nil, fmt.Errorf("neither a curl command line, nor a HAR file, nor a raw HTTP request or answer: %w", err)
	}
	return &Request{Method: request.Method, URL: request.URL, Header: request.Header, Body: body}, nil
}

// parseAnswer reads what curl -i prints.
func parseAnswer(text []byte) (*Request, error) {
	head, body := split(text)
	// The version, which need not have a point here (HTTP/2), matters to nobody.
	if at := bytes.IndexByte(head, ' '); at > 0 {
		head = append([]byte("HTTP/1.1"), head[at:]...)
	}
	response, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(head)), nil)
	if err != nil {
		return nil, fmt.Errorf("the raw HTTP answer cannot be read: %w", err)
	}
	_ = response.Body.Close() // the body is read apart
	answer := &Answer{Header: response.Header, Body: body}
	if n := response.ContentLength; n >= 0 && n <= int64(len(body)) {
		answer.Body = body[:n]
	} else {
		answer.Body, answer.Cut = bytes.TrimSpace(body), true
	}
	return &Request{URL: new(url.URL), Header: make(http.Header), Answer: answer}, nil
}

// parseCurl reads the flags that a copied request has. Others are passed over.
func parseCurl(line string) (*Request, error) {
	words, err := shell.Fields(line, func(string) string { return "" })
	if err != nil {
		return nil, fmt.Errorf("curl command line: %w", err)
	}
	flags := pflag.NewFlagSet("curl", pflag.ContinueOnError)
	flags.ParseErrorsAllowlist.UnknownFlags = true
	flags.SetOutput(io.Discard)
	method := flags.StringP("request", "X", "", "")
	headers := flags.StringArrayP("header", "H", nil, "")
	address := flags.String("url", "", "")
	data := flags.StringArrayP("data", "d", nil, "")
	raw := flags.StringArray("data-raw", nil, "")
	binary := flags.StringArray("data-binary", nil, "")
	get := flags.BoolP("get", "G", false, "")
	for _, quiet := range []string{"compressed", "location", "insecure", "silent", "include", "verbose"} {
		flags.Bool(quiet, false, "")
	}
	for _, short := range []struct{ name, letter string }{{"k", "k"}, {"s", "s"}, {"i", "i"}, {"v", "v"}, {"L", "L"}} {
		flags.BoolP("short-"+short.name, short.letter, false, "")
	}
	if err := flags.Parse(words[1:]); err != nil {
		return nil, fmt.Errorf("curl command line: %w", err)
	}
	if *address == "" && flags.NArg() > 0 {
		*address = flags.Arg(0)
	}
	body := strings.Join(slices.Concat(*data, *raw, *binary), "&")
	if strings.HasPrefix(body, "@") {
		return nil, fmt.Errorf("curl command line: its body is in the file %s; put the body itself in its place", body[1:])
	}
	header := make(http.Header)
	for _, h := range *headers {
		name, value, _ := strings.Cut(h, ":")
		header.Add(strings.TrimSpace(name), strings.TrimSpace(value))
	}
	if *get && body != "" {
		*address, body = withQuery(*address, body), ""
	}
	if *method == "" {
		*method = http.MethodGet
		if body != "" {
			*method = http.MethodPost
		}
	}
	return newRequest(*method, *address, header, []byte(body))
}

// withQuery adds parameters to an address, as curl -G does.
func withQuery(address, query string) string {
	if strings.Contains(address, "?") {
		return address + "&" + query
	}
	return address + "?" + query
}

func newRequest(method, address string, header http.Header, body []byte) (*Request, error) {
	u, err := url.Parse(address)
	if err != nil {
		return nil, fmt.Errorf("address: %w", err)
	}
	return &Request{Method: method, URL: u, Header: header, Body: body}, nil
}

// har is the part of the HTTP Archive format that matters here.
type har struct {
	Log struct{ Entries []harEntry }
}

type harEntry struct {
	StartedDateTime time.Time `json:"startedDateTime"`
	Request         struct {
		Method, URL string
		Headers     []harHeader
		PostData    struct{ Text string }
	}
	Response struct {
		Status  int
		Headers []harHeader
		Content struct{ Text, Encoding string }
	}
}

type harHeader struct{ Name, Value string }

func headerOf(pairs []harHeader) http.Header {
	header := make(http.Header)
	for _, h := range pairs {
		header.Add(h.Name, h.Value)
	}
	return header
}

func (e *harEntry) request() (*Request, error) {
	request, err := newRequest(e.Request.Method, e.Request.URL, headerOf(e.Request.Headers), []byte(e.Request.PostData.Text))
	if err != nil {
		return nil, err
	}
	request.At = e.StartedDateTime
	if e.Response.Status == 0 || e.Response.Content.Text == "" {
		return request, nil // no answer came, or its body was not recorded
	}
	request.Answer = &Answer{Header: headerOf(e.Response.Headers), Body: []byte(e.Response.Content.Text)}
	if e.Response.Content.Encoding == "base64" {
		if request.Answer.Body, err = base64.StdEncoding.DecodeString(e.Response.Content.Text); err != nil {
			return nil, fmt.Errorf("content of the answer: %w", err)
		}
	}
	return request, nil
}

func parseHAR(text []byte) (*Request, error) {
	var archive har
	if err := json.Unmarshal(text, &archive); err != nil {
		return nil, fmt.Errorf("HAR file: %w", err)
	}
	for i := range archive.Log.Entries {
		request, err := archive.Log.Entries[i].request()
		if err != nil {
			return nil, fmt.Errorf("HAR file: entry %d: %w", i+1, err)
		}
		if familyOf(request) != unknownFamily {
			return request, nil
		}
	}
	return nil, fmt.Errorf("HAR file: none of its %d requests is a call of a production address", len(archive.Log.Entries))
}
