package explain

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/openkoo/connector/marketplace"
)

// family is one of the ways the marketplace signs (spec/marketplace.md §0).
type family string

const (
	unknownFamily family = ""
	kitV2         family = "kit V2"
	baseV2        family = "base V2"
	kitV1         family = "kit V1"
	baseV1        family = "base V1"
	answerV1      family = "answer of V1" // without the call it belongs to
)

func familyOf(r *Request) family {
	query := r.URL.Query()
	switch {
	case r.Header.Get("x-sign") != "", strings.Contains(r.URL.Path, "/produceAPI/v2/"):
		return kitV2
	case query.Has("signature") && query.Has("nonce"):
		return baseV2
	case r.Header.Get("authToken") != "", strings.Contains(r.URL.Path, "/produceAPI/"):
		return kitV1
	case query.Has("authToken"), query.Has("activity") && query.Has("timeStamp"):
		return baseV1
	case r.Method == "" && r.Answer != nil:
		return answerV1
	default:
		return unknownFamily
	}
}

// Step is a stage of how a signature comes about.
type Step struct{ Title, Text string }

// Finding is what is wrong, and what to do about it.
type Finding struct{ Cause, Remedy string }

// Report is a call taken apart.
type Report struct {
	// Valid says that the signature holds, as the connector judges.
	Valid bool
	Steps []Step
	// Findings are what is wrong, the likeliest cause first.
	Findings []Finding
}

// call is what a signature is made of.
type call struct {
	family                      family
	nonce, timestamp, signature string
	body                        []byte
}

// Explain takes a call apart. keys are the access keys that should sign, the
// current one first; window is how far the timestamp may be from at (zero: the
// time of the capture, or else now). No access key is part of the report.
func Explain(r *Request, keys []string, window time.Duration, at time.Time) (*Report, error) {
	if len(keys) == 0 {
		return nil, errors.New("no access key; give the one that the seller console shows")
	}
	if at.IsZero() {
		at = r.At
	}
	if at.IsZero() {
		at = time.Now()
	}
	switch f := familyOf(r); f {
	case kitV1, baseV1:
		report := explainV1(r, f, keys, at)
		if r.Answer != nil {
			report.explainAnswer(r.Answer, keys, timeStampOf(r, f))
		}
		return report, nil
	case answerV1:
		report := &Report{Valid: true, Steps: []Step{{"Generation", string(f)}}}
		report.explainAnswer(r.Answer, keys, "")
		return report, nil
	}
	c, err := read(r)
	if err != nil {
		return nil, err
	}
	report := &Report{Steps: []Step{
		{"Generation", string(c.family) + ", " + r.Method + " " + r.URL.Path},
		{"Nonce", shown(c.nonce)}, {"Timestamp", stamp(c.timestamp)}, {"Signature received", shown(c.signature)},
	}}
	report.missing(c)
	canonical, err := marketplace.Canonical(c.body)
	if err != nil {
		report.unreadable(r, err)
		return report, nil
	}
	report.Steps = append(report.Steps, Step{"Canonical payload", excerpt(canonical)}, Step{"Signed text", c.formula()})
	for i, key := range keys {
		report.Steps = append(report.Steps, Step{fmt.Sprintf("Signature expected with key %d", i+1), c.sign(key, canonical)})
	}
	report.Valid = c.signature != "" && report.judge(c.trial(canonical), keys)
	report.clock(c, at, window)
	return report, nil
}

func read(r *Request) (*call, error) {
	c := &call{family: familyOf(r), body: r.Body}
	switch query := r.URL.Query(); c.family {
	case kitV2:
		c.nonce, c.timestamp, c.signature = r.Header.Get("x-nonce"), r.Header.Get("x-timestamp"), r.Header.Get("x-sign")
	case baseV2:
		c.nonce, c.timestamp, c.signature = query.Get("nonce"), query.Get("timestamp"), query.Get("signature")
	default:
		return nil, errors.New("no call of a production address: want the header x-sign (kit V2), the parameters signature, timestamp and nonce (base V2), the header authToken (kit V1) or the parameter authToken (base V1), or an answer with Body-Sign")
	}
	return c, nil
}

// sign is the signature as the guide makes it (spec/marketplace.md §1.2, §1.3).
func (c *call) sign(key string, payload []byte) string {
	if c.family == baseV2 {
		payload = []byte(hexHMAC(key, string(payload)))
	}
	return hexHMAC(key, key+c.nonce+c.timestamp+string(payload))
}

func (c *call) formula() string {
	if c.family == baseV2 {
		return "accessKey + nonce + timestamp + lowercase(hex(HMAC-SHA256(accessKey, canonical payload)))"
	}
	return "accessKey + nonce + timestamp + canonical payload"
}

func hexHMAC(key, text string) string {
	mac := hmac.New(sha256.New, []byte(key))
	mac.Write([]byte(text))
	return hex.EncodeToString(mac.Sum(nil))
}

func (r *Report) find(cause, remedy string) {
	r.Findings = append(r.Findings, Finding{cause, remedy})
}

func (r *Report) missing(c *call) {
	names := map[family][3]string{kitV2: {"x-nonce", "x-timestamp", "x-sign"}, baseV2: {"nonce", "timestamp", "signature"}}[c.family]
	for i, value := range []string{c.nonce, c.timestamp, c.signature} {
		if value == "" {
			r.find(names[i]+" is missing", "Send it; a proxy in between may have dropped it.")
		}
	}
}

// unreadable says why a body makes no payload.
func (r *Report) unreadable(request *Request, err error) {
	switch {
	case bytes.HasPrefix(request.Body, []byte("\ufeff")):
		r.find("The body begins with a byte order mark, which is no JSON", "Write UTF-8 without it.")
	case request.Lacks > 0:
		r.find(fmt.Sprintf("The capture lacks %d of the body's %d bytes", request.Lacks, request.Lacks+int64(len(request.Body))),
			"Capture the whole body: nothing can be said of a part.")
	default:
		r.find("The body cannot be read: "+err.Error(), "Send a JSON object in UTF-8; if the capture was cut off, capture all of it.")
	}
}

// trial is a signature to be found out about.
type trial struct {
	name      string // as the verdict calls it
	given     string
	right     func(key string) []string // what would hold
	recognise func(key string) (mistake, bool)
	stranger  mistake // what is likeliest where no mistake is known
}

// judge finds out how a signature was made, and reports whether it holds.
func (r *Report) judge(t trial, keys []string) bool {
	for i, key := range keys {
		for _, right := range t.right(key) {
			if hmac.Equal([]byte(t.given), []byte(right)) {
				r.Steps = append(r.Steps, Step{"Verdict", fmt.Sprintf("the %s holds, made with key %d", t.name, i+1)})
				return true
			}
		}
	}
	for i, key := range keys {
		if m, ok := t.recognise(key); ok {
			r.find(m.cause+withKey(i), m.remedy)
			return false
		}
	}
	r.find(t.stranger.cause, t.stranger.remedy)
	return false
}

// trial is what the connector verifies: the canonical payload, or the body as it
// came.
func (c *call) trial(canonical []byte) trial {
	given := strings.ToLower(strings.TrimSpace(c.signature))
	return trial{
		name: "signature", given: given,
		right:     func(key string) []string { return []string{c.sign(key, canonical), c.sign(key, c.body)} },
		recognise: func(key string) (mistake, bool) { return c.recognise(key, given, canonical) },
		stranger: mistake{
			"No known mistake makes this signature: most likely another access key signed it, or the body was changed on its way",
			"Compare the access key with the seller console's, character by character; capture the body as bytes, before any framework parses and writes it again.",
		},
	}
}

// withKey names the key that a mistake was made with, if not the current one.
func withKey(i int) string {
	if i == 0 {
		return ""
	}
	return fmt.Sprintf(" (with key %d)", i+1)
}

func (r *Report) clock(c *call, at time.Time, window time.Duration) {
	ms, err := strconv.ParseInt(c.timestamp, 10, 64)
	switch {
	case c.timestamp == "":
		return
	case err != nil:
		r.find("The timestamp is no number", "Send UNIX milliseconds, 13 digits.")
		return
	case len(c.timestamp) == 10 && c.family == baseV2:
		ms *= 1000
	case len(c.timestamp) != 13:
		r.find(fmt.Sprintf("The timestamp has %d digits", len(c.timestamp)), "Send UNIX milliseconds, 13 digits; 10 are seconds.")
		return
	}
	if skew := at.Sub(time.UnixMilli(ms)); skew.Abs() > window {
		r.Valid = false
		r.find(fmt.Sprintf("The timestamp is %s away from %s, and %s are allowed", skew.Abs().Round(time.Second), at.UTC().Format(time.RFC3339), window),
			"If the capture is old, this is its age: give the time it was made with --at. Otherwise set the clocks of both machines by NTP.")
	}
}

func stamp(text string) string {
	ms, err := strconv.ParseInt(text, 10, 64)
	if err != nil || len(text) != 13 {
		return shown(text)
	}
	return text + " = " + time.UnixMilli(ms).UTC().Format("2006-01-02 15:04:05.000 UTC")
}

func shown(text string) string {
	if text == "" {
		return "(missing)"
	}
	return text
}

// excerpt shortens a payload in its middle.
func excerpt(payload []byte) string {
	const most = 2000
	if len(payload) <= most {
		return string(payload)
	}
	head := bytes.ToValidUTF8(payload[:most/2], nil)
	tail := bytes.ToValidUTF8(payload[len(payload)-most/2:], nil)
	return string(slices.Concat(head, fmt.Appendf(nil, " … %d bytes … ", len(payload)-len(head)-len(tail)), tail))
}
