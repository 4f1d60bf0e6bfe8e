package doctor

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/openkoo/connector/directory"
	"github.com/openkoo/connector/marketplace/client"
)

const (
	// wrongKey signs the first call: every production address must refuse it.
	wrongKey = "orgsync-doctor-signs-wrongly"
	// maxAnswer bounds what is read of an answer, in bytes.
	maxAnswer = 64 << 10
)

// The result codes that calls which change nothing can have
// (spec/marketplace.md §2).
const (
	codeUnauthenticated = "000001"
	codeInvalid         = "000002"
)

// Interface is one by which a production address can be tried.
type Interface int

// The interfaces that may be served.
const (
	KitV2 Interface = iota
	BaseV2
	KitV1
	BaseV1
)

// call signs a call that lacks every member but its time: no connector finds
// anything in it to do.
func (i Interface) call(ctx context.Context, signer client.Signer, now time.Time) (*http.Request, error) {
	switch at := directory.SourceTimeOf(now); i {
	case BaseV2:
		return signer.BaseV2(ctx, []byte("{}"), client.NewStamp(now))
	case KitV1:
		return signer.KitV1(ctx, directory.TenantSync, []byte(`{"timeStamp":"`+at.Wire()+`"}`), at.Wire())
	case BaseV1:
		return signer.BaseV1(ctx, map[string]string{"timeStamp": at.WireUTC()})
	default:
		return signer.KitV2(ctx, directory.TenantSync, []byte("{}"), client.NewStamp(now))
	}
}

// probe calls the production address as the marketplace does.
type probe struct {
	client *http.Client
	url    *url.URL
	now    func() time.Time
	by     Interface
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
	address := *p.url
	address.RawQuery, address.Fragment, address.User = "", "", nil
	signer := client.Signer{Address: strings.TrimRight(address.String(), "/"), Key: key}
	request, err := p.by.call(ctx, signer, p.now())
	if err != nil {
		return nil, fmt.Errorf("make call: %w", err)
	}
	request.Header.Set("User-Agent", "orgsync-doctor")
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
	case strings.Contains(r.message, ": missing"):
		notes.Problemf("Have the proxy pass all headers and the URL's parameters on.", "what signs a call is lost on the way from the public address: %s", r.message)
	case r.code == codeInvalid && strings.Contains(strings.ToLower(r.message), "timestamp: "):
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
