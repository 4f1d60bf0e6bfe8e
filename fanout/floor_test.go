package fanout

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/openkoo/connector/directory"
)

// floorClient posts and patches as the connector does, and does nothing else.
type floorClient struct {
	*testing.B
	url  string
	http *http.Client
}

// bareLoop is the pace of clients that do nothing else.
func bareLoop(b *testing.B, tenants int) pace {
	b.Helper()
	server, url := benchServer(b)
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.MaxIdleConnsPerHost = benchClients
	defer transport.CloseIdleConnections()
	c := floorClient{b, url, &http.Client{Transport: transport, Timeout: time.Minute}}
	departments, users := benchDepartments/tenants, benchUsers/tenants
	began, used := time.Now(), processorTime()
	for n := range tenants {
		c.tenant(benchScope(n), departments, users)
	}
	return since(began, used, server)
}

// tenant sends what one tenant takes: groups, accounts, then the members of
// each group in one request.
func (c floorClient) tenant(scope directory.Scope, departments, users int) {
	groups, accounts := make([]string, departments), make([]string, users)
	c.each(departments, func(i int) {
		d := benchItem(i)
		groups[i] = c.send(http.MethodPost, "/Groups", map[string]any{
			"schemas": []string{"urn:ietf:params:scim:schemas:core:2.0:Group"}, "displayName": d.Name, "externalId": scope.ExternalID(d.Code),
		})
	})
	c.each(users, func(i int) {
		name, shown := fmt.Sprintf("user%05d", i), fmt.Sprintf("员工%d", i)
		accounts[i] = c.send(http.MethodPost, "/Users", map[string]any{
			"schemas": []string{
				"urn:ietf:params:scim:schemas:core:2.0:User", "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User",
			},
			"userName": name + "@" + scope.TenantID, "externalId": scope.ExternalID(name), "displayName": shown, "active": true,
			"name": map[string]any{"formatted": shown},
			"urn:ietf:params:scim:schemas:extension:enterprise:2.0:User": map[string]any{"department": benchItem(i % departments).Name},
		})
	})
	c.each(departments, func(i int) {
		var members []any
		for child := 8*i + 1; child <= min(8*i+8, departments-1); child++ {
			members = append(members, map[string]any{"value": groups[child], "type": "Group"})
		}
		for u := i; u < users; u += departments {
			members = append(members, map[string]any{"value": accounts[u], "type": "User"})
		}
		c.send(http.MethodPatch, "/Groups/"+groups[i], map[string]any{
			"schemas":    []string{"urn:ietf:params:scim:api:messages:2.0:PatchOp"},
			"Operations": []any{map[string]any{"op": "add", "path": "members", "value": members}},
		})
	})
}

// each does something n times, as many at once as there are clients.
func (c floorClient) each(n int, do func(i int)) {
	jobs := make(chan int)
	var clients sync.WaitGroup
	for range benchClients {
		clients.Go(func() {
			for i := range jobs {
				do(i)
			}
		})
	}
	for i := range n {
		jobs <- i
	}
	close(jobs)
	clients.Wait()
}

// send sends a request and reads the id in its answer.
func (c floorClient) send(method, path string, content map[string]any) string {
	body, err := json.Marshal(content)
	if err != nil {
		c.Error(err)
		return ""
	}
	request, err := http.NewRequestWithContext(c.Context(), method, c.url+path, bytes.NewReader(body))
	if err != nil {
		c.Error(err)
		return ""
	}
	request.Header.Set("Authorization", "Bearer token")
	request.Header.Set("Content-Type", "application/scim+json")
	response, err := c.http.Do(request)
	if err != nil {
		c.Error(err)
		return ""
	}
	defer func() { _ = response.Body.Close() }()
	answer, err := io.ReadAll(response.Body)
	var object struct {
		ID string `json:"id"`
	}
	switch {
	case err != nil:
		c.Error(err)
	case response.StatusCode > 299:
		c.Errorf("%s %s: status %d: %s", method, path, response.StatusCode, answer)
	case len(answer) > 0:
		if err := json.Unmarshal(answer, &object); err != nil {
			c.Error(err)
		}
	}
	return object.ID
}
