package simulate_test

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/openkoo/connector/marketplace/simulate"
)

// foreign is somebody else's production address, V2, written from the guide
// with the standard library and none of the connector's code. It keeps no
// directory and looks at no member but those that it needs.
type foreign struct {
	mu        sync.Mutex
	nonces    map[string]string // their signatures
	instances map[string]string // by order line
}

func (f *foreign) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	answer := f.serve(r)
	answer["resultMsg"] = "see the code"
	w.Header().Set("Content-Type", "application/json;charset=UTF-8")
	_ = json.NewEncoder(w).Encode(answer)
}

func (f *foreign) serve(r *http.Request) map[string]any {
	code := func(code string) map[string]any { return map[string]any{"resultCode": code} }
	body, _ := io.ReadAll(r.Body)
	query := r.URL.Query()
	timestamp, nonce, sign := query.Get("timestamp"), query.Get("nonce"), query.Get("signature")
	kit := strings.Contains(r.URL.Path, "/produceAPI/v2/")
	if kit {
		timestamp, nonce, sign = r.Header.Get("x-timestamp"), r.Header.Get("x-nonce"), r.Header.Get("x-sign")
	}
	millis, err := strconv.ParseInt(timestamp, 10, 64)
	if err != nil || nonce == "" || time.Since(time.UnixMilli(millis)).Abs() > time.Minute {
		return code("000002")
	}
	members, payload := payloadOf(body)
	if members == nil {
		return code("000002")
	}
	want := digest(nonce + timestamp + payload)
	if !kit {
		inner := hmac.New(sha256.New, []byte(accessKey))
		inner.Write([]byte(payload))
		want = digest(nonce + timestamp + hex.EncodeToString(inner.Sum(nil)))
	}
	if first, there := f.nonces[nonce]; !strings.EqualFold(want, sign) || (there && first != sign) {
		return code("000001")
	}
	f.nonces[nonce] = sign
	if kit {
		return code("000000")
	}
	return f.base(members, code)
}

func (f *foreign) base(members map[string]any, code func(string) map[string]any) map[string]any {
	if members["activity"] == "newInstance" {
		line := fmt.Sprint(members["orderId"], members["orderLineId"])
		if f.instances[line] == "" {
			f.instances[line] = fmt.Sprint(members["businessId"])
		}
		answer := code("000000")
		answer["instanceId"] = f.instances[line]
		return answer
	}
	known := slices.Collect(maps.Values(f.instances))
	var info []any
	for id := range strings.SplitSeq(fmt.Sprint(members["instanceId"]), ",") {
		if !slices.Contains(known, id) {
			return code("000003")
		}
		info = append(info, map[string]any{"instanceId": id, "appInfo": map[string]any{"frontEndUrl": "https://app.example.com"}})
	}
	answer := code("000000")
	answer["info"] = info
	return answer
}

func digest(text string) string {
	mac := hmac.New(sha256.New, []byte(accessKey))
	mac.Write([]byte(accessKey + text))
	return hex.EncodeToString(mac.Sum(nil))
}

// payloadOf sorts the members, drops those that are null and writes the rest
// compactly; what is nested stays in its order.
func payloadOf(body []byte) (members map[string]any, payload string) {
	var raw map[string]json.RawMessage
	if json.Unmarshal(body, &raw) != nil || json.Unmarshal(body, &members) != nil {
		return nil, ""
	}
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(raw)) {
		var b bytes.Buffer
		switch value := members[name].(type) {
		case nil:
			continue
		case string:
			encoder := json.NewEncoder(&b)
			encoder.SetEscapeHTML(false)
			_ = encoder.Encode(value)
		default:
			_ = json.Compact(&b, raw[name])
		}
		parts = append(parts, `"`+name+`":`+strings.TrimSpace(b.String()))
	}
	return members, "{" + strings.Join(parts, ",") + "}"
}

// A server of another hand is judged by the guide, not by what ours does: it
// passes everything but the input that it does not look at.
func TestAServerOfAnotherHandIsJudgedByTheGuide(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(&foreign{nonces: make(map[string]string), instances: make(map[string]string)})
	t.Cleanup(server.Close)
	options := simulate.Options{Address: server.URL + "/saas/", KitKeys: []string{accessKey}, Slow: time.Minute, Timeout: time.Minute, Life: simulate.Life{Days: 3, Departments: 9, Users: 9}}
	report := run(t, options, "kit-v2", "base-v2", "life-v2")

	input, err := simulate.Select(simulate.Catalogue(), []string{"kit-v2-input", "base-v2-input"})
	require.NoError(t, err)
	unseen := slices.DeleteFunc(ids(input), func(id string) bool {
		return id == "kit-v2-input-25" || id == "base-v2-input-21" // no JSON: that it sees
	})
	require.ElementsMatch(t, unseen, slices.Collect(maps.Keys(failed(report))))
	require.Equal(t, 4, report.Skipped, "without the server's public key")
}
