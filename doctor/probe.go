package doctor

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/openkoo/connector/marketplace"
)

const (
	// wrongKey signs the first call: every production address must refuse it.
	wrongKey = "orgsync-doctor-signs-wrongly"
	// probeBody lacks every member: no connector finds anything in it to do.
	probeBody = "{}"
	// maxAnswer bounds what is read of an answer, in bytes.
	maxAnswer = 64 << 10
)

// The result codes that calls which change nothing can have
// (spec/marketplace.md §2).
const (
	codeUnauthenticated = "000001"
	codeInvalid         = "000002"
)

// probe calls the production address as the marketplace does.
type probe struct {
	client *http.Client
	url    *url.URL
	now    func() time.Time
	key    string
}

// reply is what came back.
type reply struct {
	status   int
	location string
	server   string
	code     string // empty where the answer is none of a production address
	message  string
	tls      *tls.ConnectionState
}

func (p *probe) send(ctx context.Context, key string) (*reply, error) {
	nonce, stamp := "doctor-"+rand.Text(), strconv.FormatInt(p.now().UnixMilli(), 10)
	signature, err := marketplace.SignKit(key, nonce, stamp, []byte(probeBody))
	if err != nil {
		return nil, err
	}
	address := p.url.JoinPath("produceAPI", "v2", "tenantSync")
	address.RawQuery, address.Fragment, address.User = "", "", nil
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, address.String(), strings.NewReader(probeBody))
	if err != nil {
		return nil, fmt.Errorf("make call: %w", err)
	}
	request.Header.Set("Content-Type", "application/json;charset=utf8")
	request.Header.Set("User-Agent", "orgsync-doctor")
	request.Header.Set("x-nonce", nonce)
	request.Header.Set("x-timestamp", stamp)
	request.Header.Set("x-sign", signature)
	response, err := p.client.Do(request)
	if err != nil {
		return nil, err
	}
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	if err != nil {
		return nil, fmt.Errorf("read answer: %w", err)
	}
	r := &reply{status: response.StatusCode, server: response.Header.Get("Server"), tls: response.TLS}
	if to, err := response.Location(); err == nil {
		r.location = to.Scheme + "://" + to.Host + to.Path
	}
	var answer struct{ ResultCode, ResultMsg string }
	if json.Unmarshal(bytes.TrimSpace(text), &answer) == nil {
		r.code, r.message = answer.ResultCode, answer.ResultMsg
	}
	return r, nil
}

// judgeWrong judges the answer to a call with a wrong signature, and reports
// whether the address is worth another one.
func judgeWrong(r *reply, notes *Notes) bool {
	switch {
	case r.status >= 300 && r.status < 400:
		notes.Problemf("Register the address it redirects to, or switch the redirect off: the marketplace follows none.", "the public address redirects (HTTP %d) to %s", r.status, r.location)
	case r.code == "":
		notes.Problemf("Have the proxy pass this path on to orgsync, as it is (basePath must fit), with method POST, body and headers unchanged.",
			"something else answers at the public address: HTTP %d%s, and no resultCode", r.status, by(r.server))
	case r.status == http.StatusNotFound || r.status == http.StatusMethodNotAllowed:
		notes.Problemf("Set basePath to the path that arrives here, or have the proxy keep the path.", "a connector answers at the public address, and has no interface there (HTTP %d): %s", r.status, r.message)
	case strings.HasPrefix(r.message, "x-") && strings.HasSuffix(r.message, ": missing"):
		notes.Problemf("Have the proxy pass the headers x-sign, x-timestamp and x-nonce on.", "a header is lost on the way from the public address: %s", r.message)
	case r.code == codeInvalid && strings.HasPrefix(r.message, "x-timestamp"):
		notes.Problemf(setClocks, "the clock of the connector behind the public address and this machine's differ: %s", r.message)
	case r.code != codeUnauthenticated || r.status != http.StatusOK:
		notes.Problemf("See what answers there: a production address refuses a wrong signature with HTTP 200 and 000001.",
			"the public address answers a wrong signature with HTTP %d and %s", r.status, r.code)
	default:
		return true
	}
	return false
}

// judgeRight judges the answer to a call that is signed with this connector's
// key, and that holds nothing.
func judgeRight(r *reply, notes *Notes) {
	switch r.code {
	case codeInvalid:
	case codeUnauthenticated:
		notes.Problemf("See whether the address leads to this installation, and whether all replicas have the same keys (kitAccessKeys).",
			"a production address answers at the public address that does not know this connector's access key")
	default:
		notes.Problemf("See what answers there.", "the public address answers a call without members with HTTP %d and %s", r.status, r.code)
	}
}

func by(server string) string {
	if server == "" {
		return ""
	}
	return " from " + server
}
