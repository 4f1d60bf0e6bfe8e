package simulate

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/openkoo/connector/marketplace"
)

// The result codes of spec/marketplace.md §2.
const (
	codeSuccess         = "000000"
	codeDenied          = "000001"
	codeInvalid         = "000002"
	codeUnknownInstance = "000003"
	codeProcessing      = "000004"
	codeInternal        = "000005"
	codeNoResource      = "000100"
	codeClientSecret    = "000101"
)

const (
	maxAnswer  = 1 << 20 // of a body, in bytes
	maxMessage = 255     // of resultMsg, in characters
	maxGot     = 200     // of what is shown of a text, in characters
	maxShown   = 2000    // of a body in a report, in characters
)

// success reports whether a code says that a call was taken.
func success(code string) bool { return code == codeSuccess || code == codeProcessing }

// answer is what a production address said.
type answer struct {
	status  int
	header  http.Header
	body    []byte
	took    time.Duration
	code    string
	message string
	members map[string]json.RawMessage
}

// text is a member that is a string; empty if it is not.
func (a *answer) text(name string) string {
	var text string
	_ = json.Unmarshal(a.members[name], &text)
	return text
}

// exchange sends a request and reads the answer, within bounds.
func (r *Runner) exchange(ctx context.Context, request *http.Request) (*answer, *Finding) {
	r.calls.Add(1)
	ctx, cancel := context.WithTimeout(ctx, r.options.Timeout)
	defer cancel()
	// A server may close a connection that rests, just as it is used again: the
	// call is then made anew. The header is not sent.
	request.Header["Idempotency-Key"] = []string{}
	began := time.Now()
	response, err := r.options.HTTP.Do(request.WithContext(ctx))
	if err != nil {
		return nil, r.failure(err)
	}
	defer func() { _ = response.Body.Close() }()
	a := &answer{status: response.StatusCode, header: response.Header}
	a.body, err = io.ReadAll(io.LimitReader(response.Body, maxAnswer+1))
	a.took = time.Since(began)
	switch {
	case timedOut(err):
		return a, finding(EndlessAnswer, "an answer that ends", fmt.Sprintf("%d bytes, and no end within %s", len(a.body), r.options.Timeout))
	case err != nil:
		return a, finding(NoAnswer, "an answer", "a connection that broke in the middle: "+plain(err))
	case len(a.body) > maxAnswer:
		return a, finding(EndlessAnswer, "an answer of a few hundred bytes", "more than a megabyte")
	}
	return a, nil
}

func (r *Runner) failure(err error) *Finding {
	switch {
	case badTLS(err):
		return finding(BadTLS, "a TLS connection that can be trusted", plain(err))
	case timedOut(err):
		return finding(TimedOut, fmt.Sprintf("an answer within %s", r.options.Timeout), "none")
	default:
		return finding(NoAnswer, "an answer", plain(err))
	}
}

func timedOut(err error) bool {
	return errors.Is(err, context.DeadlineExceeded) || errors.Is(err, os.ErrDeadlineExceeded)
}

func badTLS(err error) bool {
	_, untrusted := errors.AsType[*tls.CertificateVerificationError](err)
	_, noTLS := errors.AsType[tls.RecordHeaderError](err)
	_, alert := errors.AsType[tls.AlertError](err)
	return untrusted || noTLS || alert || strings.Contains(err.Error(), "tls: ") || strings.Contains(err.Error(), "HTTP response to HTTPS client")
}

// plain is an error without the URL, which holds a signature.
func plain(err error) string {
	if outer, ok := errors.AsType[*url.Error](err); ok {
		err = outer.Err
	}
	return err.Error()
}

// read makes sense of an answer, as far as all answers are alike (§2).
func (a *answer) read() *Finding {
	kind, _, err := mime.ParseMediaType(a.header.Get("Content-Type"))
	got := fmt.Sprintf("HTTP %d", a.status)
	switch {
	case a.status >= 300 && a.status < 400:
		return finding(Redirected, "HTTP 200", got+" to "+cut(a.header.Get("Location"), maxGot))
	case a.status >= 500:
		return finding(ServerError, "HTTP 200", got)
	case a.status != http.StatusOK:
		return finding(WrongStatus, "HTTP 200", got)
	case json.Unmarshal(a.body, &a.members) != nil || a.members == nil || !utf8.Valid(a.body):
		return finding(NotJSON, "a JSON object", fmt.Sprintf("%s: %s", orNone(kind), cut(string(a.body), maxGot)))
	case err != nil || (kind != "application/json" && !strings.HasSuffix(kind, "+json")):
		return finding(WrongContentType, "application/json", orNone(a.header.Get("Content-Type")))
	}
	code, there := a.members["resultCode"]
	message := a.members["resultMsg"] // optional in some of the guides
	switch {
	case !there:
		return finding(MissingMember, "resultCode", "an answer without it")
	case json.Unmarshal(code, &a.code) != nil || string(code) == "null":
		return finding(WrongMember, "resultCode: a string", cut(string(code), maxGot))
	case message != nil && json.Unmarshal(message, &a.message) != nil:
		return finding(WrongMember, "resultMsg: a string", cut(string(message), maxGot))
	}
	if n := utf8.RuneCountInString(a.message); n > maxMessage {
		return finding(WrongMember, fmt.Sprintf("resultMsg: at most %d characters", maxMessage), strconv.Itoa(n))
	}
	return nil
}

// checkBodySign checks the signature of a V1 answer (§1.4). Any of the keys
// may have signed it: a refused call names none.
func (a *answer) checkBodySign(keys []string) *Finding {
	got := a.header.Get("Body-Sign")
	if got == "" {
		return finding(MissingBodySign, "the header Body-Sign", "none")
	}
	for _, key := range keys {
		if got == marketplace.BodySign(key, a.body) {
			return nil
		}
	}
	return finding(BadBodySign, marketplace.BodySign(keys[0], a.body), cut(got, maxGot))
}

func orNone(text string) string {
	if text = cut(text, maxGot); text == "" {
		return "no Content-Type"
	}
	return text
}

// cut shortens a text to so many characters, on one line: what a server sends
// must not draw on the terminal of whoever reads it.
func cut(text string, most int) string {
	text = strings.Join(strings.Fields(strings.Map(printable, text)), " ")
	if utf8.RuneCountInString(text) <= most {
		return text
	}
	return string([]rune(text)[:most]) + "…"
}

func printable(r rune) rune {
	if unicode.IsPrint(r) || r == utf8.RuneError {
		return r
	}
	return ' '
}

// confidential are the members of answers that reports leave out.
var confidential = regexp.MustCompile(`("(?i:password|license)"\s*:\s*")(?:[^"\\]|\\.)*`)

// shown is what a report shows of a body.
func shown(body []byte, keys []string) string {
	text := confidential.ReplaceAllString(string(body), `$1***`)
	for _, key := range keys {
		text = strings.ReplaceAll(text, key, "***")
	}
	return cut(text, maxShown)
}
