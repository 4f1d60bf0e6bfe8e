package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/openkoo/connector/target/scim/scimserver"
	"github.com/openkoo/connector/target/scim/scimtest"
)

const spyToken = "spy-token"

// spy is a SCIM server that knows which replica sent what: each has a path of
// its own. It carries one write out after the other, so that its record is the
// order in which they came to pass.
type spy struct {
	peer
	server *scimserver.Server
	url    string

	mu     sync.Mutex
	writes []write
	// names are the external ids of the objects that ever were, by collection
	// and id.
	names map[string]string
	hold  *hold
}

// write is what one request changed of one object, or of one membership.
type write struct {
	from string // the replica
	// slot is what the log calls it: kind and key of the slot.
	slot slotName
	// object tells apart what the target may be sent the same of: an account,
	// a department, or a member in one group of those that were of that name.
	object string
	// content is what the object is from then on.
	content string
}

// slotName is a slot as log lines name it.
type slotName struct{ scope, kind, key string }

// hold keeps the answer to a request from the replica that sent it.
type hold struct {
	method, collection string
	dead               []string      // whose requests may still come, and are let through
	held               chan struct{} // closed when the request has been carried out
	// Set when held: who sent it, and what it is of.
	replica string
	slot    slotName
}

func newSpy(t *testing.T) *spy {
	t.Helper()
	server, err := scimserver.New(scimserver.Options{Token: spyToken})
	require.NoError(t, err)
	s := &spy{server: server, names: make(map[string]string)}
	listening := httptest.NewServer(s)
	t.Cleanup(listening.Close)
	s.url = listening.URL
	s.peer = peer{Server: scimtest.Server{URL: listening.URL + "/test", Token: spyToken}, name: "spy", requests: server.Requests}
	return s
}

// targets is the configuration of the target for a replica.
func (s *spy) targets(replica string) string {
	return "targets:\n" + targetYAML("spy", s.url+"/"+replica, spyToken)
}

// ServeHTTP implements http.Handler.
func (s *spy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	replica, rest, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return // the replica is gone
	}
	inner := r.Clone(r.Context())
	inner.URL.Path, inner.URL.RawPath, inner.RequestURI = "/"+rest, "", ""
	inner.Body = io.NopCloser(bytes.NewReader(body))
	if r.Method == http.MethodGet {
		s.server.ServeHTTP(w, inner)
		return
	}
	answer := httptest.NewRecorder()
	collection, id, _ := strings.Cut(rest, "/")
	h := s.carryOut(answer, inner, replica, collection, id, body)
	if h != nil {
		close(h.held)
		<-r.Context().Done() // the replica is gone
		return
	}
	maps.Copy(w.Header(), answer.Header())
	w.WriteHeader(answer.Code)
	_, _ = w.Write(answer.Body.Bytes())
}

// carryOut does a write and records it. It returns the hold that is upon it.
func (s *spy) carryOut(answer *httptest.ResponseRecorder, r *http.Request, replica, collection, id string, body []byte) *hold {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.server.ServeHTTP(answer, r)
	if answer.Code > 299 {
		return nil
	}
	changes := s.read(replica, r.Method, collection, id, body, answer.Body.Bytes())
	s.writes = append(s.writes, changes...)
	h := s.hold
	if h == nil || len(changes) == 0 || (h.method != "" && h.method != r.Method) || (h.collection != "" && h.collection != collection) ||
		slices.Contains(h.dead, replica) {
		return nil
	}
	s.hold = nil
	h.replica, h.slot = replica, changes[0].slot
	return h
}

// holdNext keeps the answer to the next such write from whoever sends it, until
// it hangs up. An empty method or collection means any. What dead replicas sent
// before they died may come later.
func (s *spy) holdNext(method, collection string, dead ...string) *hold {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.hold = &hold{method: method, collection: collection, dead: dead, held: make(chan struct{})}
	return s.hold
}

// read tells what a request that was carried out has changed.
func (s *spy) read(replica, method, collection, id string, body, answer []byte) []write {
	var sent struct {
		ExternalID string
		Operations []operation
	}
	var made struct{ ID string }
	_ = json.Unmarshal(body, &sent)
	switch method {
	case http.MethodPost:
		_ = json.Unmarshal(answer, &made)
		s.names[collection+"/"+made.ID] = sent.ExternalID
		return []write{s.object(replica, collection, made.ID, content(flat(body)))}
	case http.MethodDelete:
		return []write{s.object(replica, collection, id, "gone")}
	}
	var writes []write
	attributes := make(map[string]any)
	for _, op := range sent.Operations {
		switch {
		case op.Path == "members":
			for _, m := range op.members() {
				writes = append(writes, s.member(replica, m.Type, id, m.Value, "in"))
			}
		case oneMember.MatchString(op.Path):
			member := oneMember.FindStringSubmatch(op.Path)[1]
			writes = append(writes, s.member(replica, s.typeOf(member), id, member, "out"))
		case op.Op == "replace":
			attributes[op.Path] = op.Value
		}
	}
	if len(attributes) > 0 {
		writes = append(writes, s.object(replica, collection, id, content(attributes)))
	}
	return writes
}

var oneMember = regexp.MustCompile(`^members\[value eq "(.*)"\]$`)

// operation is one of a PATCH (RFC 7644 §3.5.2).
type operation struct {
	Op, Path string
	Value    any
}

type member struct{ Type, Value string }

func (o operation) members() (list []member) {
	text, _ := json.Marshal(o.Value)
	_ = json.Unmarshal(text, &list)
	return list
}

// typeOf is the kind of an object that a removal names by its id alone; the
// server's ids of users and groups differ.
func (s *spy) typeOf(id string) string {
	if _, ok := s.names["Groups/"+id]; ok {
		return "Group"
	}
	return "User"
}

func (s *spy) object(replica, collection, id, content string) write {
	kind := map[string]string{"Groups": "department", "Users": "user"}[collection]
	slot := slotOf(kind, s.names[collection+"/"+id])
	return write{from: replica, slot: slot, object: fmt.Sprintf("%s %s/%s", kind, slot.scope, slot.key), content: content}
}

func (s *spy) member(replica, kind, group, id, place string) write {
	slot := slotOf("membership", s.names["Users/"+id])
	if kind == "Group" {
		slot = slotOf("placement", s.names["Groups/"+id])
	}
	return write{from: replica, slot: slot, object: fmt.Sprintf("%s %s of %s", slot.kind, id, group), content: place}
}

// slotOf reads an external id: the scope, a slash and the key.
func slotOf(kind, externalID string) slotName {
	at := strings.LastIndex(externalID, "/")
	if at < 0 {
		return slotName{kind: kind, key: externalID}
	}
	return slotName{externalID[:at], kind, externalID[at+1:]}
}

// flat names each attribute of a resource as PATCH does.
func flat(body []byte) map[string]any {
	var resource map[string]any
	_ = json.Unmarshal(body, &resource)
	delete(resource, "schemas")
	attributes := make(map[string]any)
	for name, value := range resource {
		inside, ok := value.(map[string]any)
		if !ok {
			attributes[name] = value
			continue
		}
		separator := "."
		if strings.HasPrefix(name, "urn:") {
			separator = ":"
		}
		for child, value := range inside {
			attributes[name+separator+child] = value
		}
	}
	return attributes
}

// content is attributes as text that is the same for the same attributes.
func content(attributes map[string]any) string {
	text, _ := json.Marshal(attributes)
	return string(text)
}

// repeats are the writes that told the target what it had been told last, by
// slot: who had told it.
func (s *spy) repeats() map[slotName][]string {
	s.mu.Lock()
	defer s.mu.Unlock()
	last := make(map[string]write)
	again := make(map[slotName][]string)
	for _, w := range s.writes {
		if before, ok := last[w.object]; ok && before.content == w.content {
			again[w.slot] = append(again[w.slot], before.from)
		}
		last[w.object] = w
	}
	return again
}
