package scimserver

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
)

// Bulk bounds the bulk requests that are taken; without MaxOperations none is.
type Bulk struct {
	MaxOperations int
	MaxPayload    int // bytes
}

type bulkRequest struct {
	FailOnErrors int
	Operations   []bulkOperation
}

type bulkOperation struct {
	Method, BulkID, Path string
	Data                 json.RawMessage
}

// bulkBase stands before the locations of a bulk answer.
const bulkBase = "https://scim.example.com"

// bulkResult is the answer to one operation.
type bulkResult struct {
	Method   string          `json:"method"`
	BulkID   string          `json:"bulkId,omitempty"`
	Location string          `json:"location,omitempty"`
	Status   string          `json:"status"`
	Response json.RawMessage `json:"response,omitempty"`
}

type bulkResponse struct {
	Schemas    []string     `json:"schemas"`
	Operations []bulkResult `json:"Operations"`
}

// bulk carries out the operations of one request, in order, each as if it had
// come alone (RFC 7644 §3.7).
func (s *Server) bulk(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	var request bulkRequest
	switch err := json.Unmarshal(body, &request); {
	case err != nil || r.Method != http.MethodPost:
		(&refusal{http.StatusBadRequest, "invalidSyntax", "want a bulk request"}).write(w)
		return
	case len(body) > s.options.Bulk.MaxPayload || len(request.Operations) > s.options.Bulk.MaxOperations:
		(&refusal{http.StatusRequestEntityTooLarge, "tooMany", "the request is too large"}).write(w)
		return
	}
	ids := make(map[string]string) // of what was created, by bulkId
	results, failures := []bulkResult{}, 0
	for _, o := range request.Operations {
		if request.FailOnErrors > 0 && failures >= request.FailOnErrors {
			break
		}
		result := s.operate(r, o, ids)
		if result.Response != nil {
			failures++
		}
		results = append(results, result)
	}
	write(w, http.StatusOK, bulkResponse{[]string{"urn:ietf:params:scim:api:messages:2.0:BulkResponse"}, results})
}

// operate carries out one operation, in which others stand by their bulkId.
func (s *Server) operate(r *http.Request, o bulkOperation, ids map[string]string) bulkResult {
	data := string(o.Data)
	for name, id := range ids {
		data = strings.ReplaceAll(data, `"bulkId:`+name+`"`, strconv.Quote(id))
	}
	answer := s.within(r, o.Method, o.Path, data)
	result := bulkResult{Method: o.Method, BulkID: o.BulkID, Status: strconv.Itoa(answer.Code), Location: bulkBase + o.Path}
	var created struct{ ID string }
	switch {
	case answer.Code > 299:
		result.Location, result.Response = "", json.RawMessage(answer.Body.Bytes())
	case o.Method == http.MethodPost && json.Unmarshal(answer.Body.Bytes(), &created) == nil:
		ids[o.BulkID] = created.ID
		result.Location += "/" + url.PathEscape(created.ID)
	}
	return result
}

// within carries out one operation.
func (s *Server) within(r *http.Request, method, path, data string) *httptest.ResponseRecorder {
	answer := httptest.NewRecorder()
	target, err := url.Parse(path)
	if err != nil || !strings.HasPrefix(path, "/") {
		(&refusal{http.StatusBadRequest, "invalidPath", "want a path"}).write(answer)
		return answer
	}
	one := r.Clone(r.Context())
	one.Method, one.URL = method, target
	one.Body = io.NopCloser(bytes.NewReader([]byte(data)))
	s.quirky(answer, one)
	return answer
}
