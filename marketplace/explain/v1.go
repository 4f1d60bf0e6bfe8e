package explain

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/openkoo/connector/directory"
	"github.com/openkoo/connector/marketplace"
)

// callV1 is what an authToken is made of (spec/marketplace.md §1.4).
type callV1 struct {
	family           family
	timeStamp, token string
	params           []marketplace.Param // in the order in which they came
	raw              []marketplace.Param // of a URL: as written there, still encoded
	body             []byte
}

func readV1(r *Request, f family) (*callV1, error) {
	c := &callV1{family: f, token: r.Header.Get("authToken"), body: r.Body}
	var err error
	if f == kitV1 {
		if c.params, err = marketplace.V1Params(r.Body); err != nil {
			return nil, err
		}
	} else if c.params, c.raw, c.token, err = readQuery(r.URL.RawQuery); err != nil {
		return nil, err
	}
	for _, p := range c.params {
		if p.Name == "timeStamp" {
			c.timeStamp = p.Value
		}
	}
	return c, nil
}

// readQuery reads a URL's parameters in their order, decoded and as they are
// written there.
func readQuery(query string) (params, raw []marketplace.Param, token string, err error) {
	counted, token, err := marketplace.ParseV1Query(query)
	if err != nil {
		return nil, nil, "", err
	}
	values := make(map[string]string, len(counted))
	for _, p := range counted {
		values[p.Name] = p.Value
	}
	for pair := range strings.SplitSeq(query, "&") {
		name, value, _ := strings.Cut(pair, "=")
		plain, err := url.QueryUnescape(name)
		if err != nil {
			return nil, nil, "", err
		}
		if counts, ok := values[plain]; ok {
			params, raw = append(params, marketplace.Param{Name: plain, Value: counts}), append(raw, marketplace.Param{Name: name, Value: value})
			delete(values, plain) // of one that comes twice the first counts
		}
	}
	return params, raw, token, nil
}

// timeStampOf is a V1 call's timeStamp, empty if it cannot be read.
func timeStampOf(r *Request, f family) string {
	if c, err := readV1(r, f); err == nil {
		return c.timeStamp
	}
	return ""
}

func (c *callV1) sign(key, joined string) string { return base64HMAC(key+c.timeStamp, joined) }

func base64HMAC(key, text string) string {
	mac := hmac.New(sha256.New, []byte(key))
	mac.Write([]byte(text))
	return base64.StdEncoding.EncodeToString(mac.Sum(nil))
}

// explainV1 takes a V1 call apart.
func explainV1(r *Request, f family, keys []string, at time.Time) *Report {
	report := &Report{Steps: []Step{{"Generation", string(f) + ", " + r.Method + " " + r.URL.Path}}}
	c, err := readV1(r, f)
	if err != nil {
		if f == kitV1 {
			report.unreadable(r, err)
		} else {
			report.find("The parameters cannot be read: "+err.Error(), "Send URL parameters that are encoded, in UTF-8.")
		}
		return report
	}
	joined := marketplace.JoinV1(c.params)
	report.Steps = append(report.Steps,
		Step{"timeStamp", c.stamp()}, Step{"authToken received", shown(c.token)},
		Step{"Signed text: all parameters but authToken, sorted, joined", excerpt([]byte(joined))}, Step{"Key of the HMAC", "accessKey + timeStamp"})
	for i, key := range keys {
		report.Steps = append(report.Steps, Step{fmt.Sprintf("authToken expected with key %d", i+1), c.sign(key, joined)})
	}
	if c.timeStamp == "" {
		report.find("timeStamp is missing", "Send it among the parameters (yyyyMMddHHmmssSSS); the HMAC's key ends with it.")
	}
	if c.token == "" {
		report.find("authToken is missing", map[family]string{
			kitV1:  "Send it as the header authToken; a proxy in between may have dropped it.",
			baseV1: "Send it as the URL parameter authToken.",
		}[f])
		return report
	}
	report.Valid = report.judge(c.trial(joined), keys)
	report.zone(c, at)
	return report
}

func (c *callV1) trial(joined string) trial {
	given := strings.ReplaceAll(c.token, " ", "+") // a "+" that was not escaped arrives as a space
	return trial{
		name: "authToken", given: given,
		right:     func(key string) []string { return []string{c.sign(key, joined)} },
		recognise: func(key string) (mistake, bool) { return c.recognise(key, given, joined) },
		stranger: mistake{
			"No known mistake makes this authToken: most likely another access key made it, or a parameter was changed on its way",
			"Compare the access key with the seller console's, character by character; capture the call before any gateway or framework touches it.",
		},
	}
}

// location is where a V1 call's timeStamp is written (spec/marketplace.md §1.4).
func (c *callV1) location() *time.Location {
	if c.family == kitV1 {
		return directory.China
	}
	return time.UTC
}

func (c *callV1) moment() (time.Time, bool) {
	at, err := directory.ParseSourceTime(c.timeStamp, c.location())
	return at.Time(), err == nil
}

func (c *callV1) stamp() string {
	moment, ok := c.moment()
	if !ok {
		return shown(c.timeStamp)
	}
	return c.timeStamp + " = " + moment.UTC().Format("2006-01-02 15:04:05.000 UTC")
}

// zone notices a timeStamp that is written in the other generation's time zone.
// Nothing else is asked of its age: the protocol names no bound for V1.
func (r *Report) zone(c *callV1, at time.Time) {
	const away, near = 8 * time.Hour, 10 * time.Minute
	moment, ok := c.moment()
	switch {
	case c.timeStamp == "":
	case !ok:
		r.Valid = false
		r.find("The timeStamp is no time", "Write yyyyMMddHHmmssSSS, 17 digits.")
	case (at.Sub(moment).Abs() - away).Abs() < near:
		r.find("The timeStamp is 8 hours off, as if it were in the wrong time zone", "Write it in UTC for the base interface, and in UTC+8 for the kit.")
	}
}
