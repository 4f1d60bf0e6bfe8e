package webhook_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"github.com/openkoo/connector/target"
	"github.com/openkoo/connector/target/webhook"
)

// A receiver verifies, drops what is older than what it has, and keeps the rest.
func Example() {
	secret := "whsec_" + base64.StdEncoding.EncodeToString([]byte("at least twenty-four random bytes"))
	verifier, err := standardwebhooks.NewWebhook(secret)
	if err != nil {
		fmt.Println(err)
		return
	}
	newest := map[string]webhook.Data{} // in a database, in earnest
	receiver := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 1<<20))
		if err != nil || verifier.Verify(body, r.Header) != nil {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		var message webhook.Message
		if json.Unmarshal(body, &message) != nil {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		entity := message.Data.ExternalID
		known, ok := newest[entity]
		if !ok || message.Data.Version > known.Version || (message.Data.Version == known.Version && message.Data.Revision >= known.Revision) {
			newest[entity] = message.Data
		}
		fmt.Println(message.Type, message.Data.Key, "version", newest[entity].Version)
	}))
	defer receiver.Close()

	connector, err := webhook.New(webhook.Config{URL: receiver.URL, Secrets: []string{secret}, AllowPrivate: true})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = connector.Close() }()
	for _, version := range []int64{2, 1} {
		department := target.Department{Object: object("00000001", version, 0), Code: "00000001", Name: "产品部"}
		if _, err := connector.PutDepartment(context.Background(), department); err != nil {
			fmt.Println(err)
		}
	}
	// Output:
	// department.upserted 00000001 version 2
	// department.upserted 00000001 version 2
}
