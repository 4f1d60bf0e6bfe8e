// Package explain takes a captured call apart: what was signed, what should
// have been signed, and which mistake would have made the signature it carries.
package explain

import (
	"bufio"
	"bytes"
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
}

// Parse reads a capture: a curl command line, a HAR file (its first call of a
// production address), or a raw HTTP/1.1 request.
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
	default:
		return parseRaw(trimmed)
	}
}

func parseRaw(text []byte) (*Request, error) {
	head, body, found := bytes.Cut(text, []byte("\r\n\r\n"))
	if !found {
		if head, body, found = bytes.Cut(text, []byte("\n\n")); found {
			head = bytes.ReplaceAll(head, []byte("\n"), []byte("\r\n"))
		}
	}
	if !found {
		head = bytes.ReplaceAll(bytes.ReplaceAll(text, []byte("\r\n"), []byte("\n")), []byte("\n"), []byte("\r\n"))
	}
	request, err := http.ReadRequest(bufio.NewReader(io.MultiReader(bytes.NewReader(head), strings.NewReader("\r\n\r\n"))))
	if err != nil {
		return nil, fmt.Errorf("neither a curl command line, nor a HAR file, nor a raw HTTP request: %w", err)
	}
	return &Request{Method: request.Method, URL: request.URL, Header: request.Header, Body: body}, nil
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
	if *method == "" {
		*method = http.MethodGet
		if body != "" {
			*method = http.MethodPost
		}
	}
	return newRequest(*method, *address, header, []byte(body))
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
	Log struct {
		Entries []struct {
			StartedDateTime time.Time `json:"startedDateTime"`
			Request         struct {
				Method, URL string
				Headers     []struct{ Name, Value string }
				PostData    struct{ Text string }
			}
		}
	}
}

func parseHAR(text []byte) (*Request, error) {
	var archive har
	if err := json.Unmarshal(text, &archive); err != nil {
		return nil, fmt.Errorf("HAR file: %w", err)
	}
	for _, entry := range archive.Log.Entries {
		header := make(http.Header)
		for _, h := range entry.Request.Headers {
			header.Add(h.Name, h.Value)
		}
		request, err := newRequest(entry.Request.Method, entry.Request.URL, header, []byte(entry.Request.PostData.Text))
		if err != nil {
			return nil, fmt.Errorf("HAR file: %w", err)
		}
		request.At = entry.StartedDateTime
		if familyOf(request) != unknownFamily {
			return request, nil
		}
	}
	return nil, fmt.Errorf("HAR file: none of its %d requests is a call of a production address", len(archive.Log.Entries))
}
