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
	"net/http/httputil"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/openkoo/connector/secrets"
)

// maxCapture bounds a capture, in bytes.
const maxCapture = 64 << 20

// maxReason bounds what is told of a capture that cannot be read, in bytes.
const maxReason = 120

// Request is a captured call.
type Request struct {
	Method string
	URL    *url.URL
	Header http.Header
	Body   []byte
	// Lacks is how many bytes of the body the capture does not hold, as far as
	// it says how long the body is.
	Lacks int64
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
	text = inUTF8(text)
	trimmed := bytes.TrimSpace(text)
	if bare, ok := bytes.CutPrefix(trimmed, []byte("$ ")); ok {
		trimmed = bytes.TrimSpace(bare) // the prompt was copied too
	}
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
		return parseRaw(bytes.TrimLeft(text, " \t\r\n"))
	}
}

// inUTF8 undoes what editors and shells of Windows do to a file.
func inUTF8(raw []byte) []byte {
	text, err := secrets.Text(raw)
	if err != nil {
		return raw // a body may be anything
	}
	return text
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
	// Copied from a browser or an editor it may say HTTP/2, or nothing, as no
	// request does on the wire.
	line, rest, _ := bytes.Cut(head, []byte("\r\n"))
	if words := bytes.Fields(line); len(words) == 2 || (len(words) == 3 && string(words[2]) == "HTTP/2") {
		head = slices.Concat(words[0], []byte(" "), words[1], []byte(" HTTP/1.1\r\n"), rest)
	}
	request, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(head)))
	if err != nil {
		reason := err.Error() // which quotes the line it does not like
		if len(reason) > maxReason {
			reason = strings.ToValidUTF8(reason[:maxReason], "") + "…"
		}
		return nil, errors.New("neither a curl command line, nor a HAR file, nor a raw HTTP request or answer: " + reason)
	}
	length := request.ContentLength
	switch {
	case slices.Contains(request.TransferEncoding, "chunked"):
		if whole, err := io.ReadAll(httputil.NewChunkedReader(bytes.NewReader(body))); err == nil {
			body = whole
		}
	case length <= 0: // it does not say; an editor ends a file with a line break
		body = bytes.TrimRight(body, " \t\r\n")
	case length < int64(len(body)) && len(bytes.TrimSpace(body[length:])) == 0:
		body = body[:length]
	}
	return &Request{Method: request.Method, URL: request.URL, Header: request.Header, Body: body, Lacks: max(0, length-int64(len(body)))}, nil
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
		BodySize    int64
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
	request.At, request.Lacks = e.StartedDateTime, max(0, e.Request.BodySize-int64(len(request.Body)))
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
	if archive.Log.Entries == nil {
		return nil, errors.New("this is JSON, and no HAR file; if it is the body of a call, capture the headers and the address as well: they hold the signature")
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
