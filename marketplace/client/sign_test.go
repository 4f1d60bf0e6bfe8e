package client_test

import (
	"encoding/json"
	"io"
	"net/http"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/openkoo/connector/directory"
	"github.com/openkoo/connector/marketplace"
	"github.com/openkoo/connector/marketplace/client"
)

const address = "https://isv.example.com/saasproduce"

func body(t *testing.T, r *http.Request) string {
	t.Helper()
	text, err := io.ReadAll(r.Body)
	require.NoError(t, err)
	return string(text)
}

// The vectors were made with Jackson and the JDK.
func TestRequestsAreSignedAsTheVectorsAre(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../testdata/signatures.json")
	require.NoError(t, err)
	var vectors struct {
		Signatures []struct {
			Name, AccessKey, Nonce, Timestamp, Body, KitV2Sign, BaseV2Signature, V1AuthToken string
		}
	}
	require.NoError(t, json.Unmarshal(text, &vectors))
	require.NotEmpty(t, vectors.Signatures)
	for _, v := range vectors.Signatures {
		t.Run(v.Name, func(t *testing.T) {
			t.Parallel()
			millis, err := strconv.ParseInt(v.Timestamp, 10, 64)
			require.NoError(t, err)
			signer := client.Signer{Address: address, Key: v.AccessKey}
			stamp := client.Stamp{Nonce: v.Nonce, At: time.UnixMilli(millis)}

			kit, err := signer.KitV2(t.Context(), directory.AuthSync, []byte(v.Body), stamp)
			require.NoError(t, err)
			require.Equal(t, address+"/produceAPI/v2/authSync", kit.URL.String())
			require.Equal(t, []string{v.KitV2Sign, v.Timestamp, v.Nonce}, []string{kit.Header.Get("x-sign"), kit.Header.Get("x-timestamp"), kit.Header.Get("x-nonce")})
			require.Equal(t, v.Body, body(t, kit), "the body goes out as it is")

			base, err := signer.BaseV2(t.Context(), []byte(v.Body), stamp)
			require.NoError(t, err)
			require.Equal(t, address, "https://"+base.URL.Host+base.URL.Path)
			query := base.URL.Query()
			require.Equal(t, []string{v.BaseV2Signature, v.Timestamp, v.Nonce}, []string{query.Get("signature"), query.Get("timestamp"), query.Get("nonce")})
			require.Equal(t, v.Body, body(t, base))

			if v.V1AuthToken == "" {
				return // the base interface's bodies are V2 only
			}
			var members struct{ TimeStamp string }
			require.NoError(t, json.Unmarshal([]byte(v.Body), &members))
			old, err := signer.KitV1(t.Context(), directory.AuthSync, []byte(v.Body), members.TimeStamp)
			require.NoError(t, err)
			require.Equal(t, address+"/produceAPI/authSync", old.URL.String())
			require.Equal(t, v.V1AuthToken, old.Header.Get("authToken"))
		})
	}
}

func TestParametersOfAURLAreSignedDecoded(t *testing.T) {
	t.Parallel()
	params := map[string]string{"activity": "newInstance", "timeStamp": "20260506070809000", "customerName": "企业 & 同事+1"}
	request, err := client.Signer{Address: address, Key: key}.BaseV1(t.Context(), params)
	require.NoError(t, err)
	require.Equal(t, http.MethodGet, request.Method)
	query := request.URL.Query()
	for name, value := range params {
		require.Equal(t, value, query.Get(name))
	}
	require.Equal(t, marketplace.SignV1Params(key, params), query.Get("authToken"))
}

func TestABodyThatCannotBeSignedIsNotSent(t *testing.T) {
	t.Parallel()
	signer := client.Signer{Address: address, Key: key}
	_, err := signer.KitV1(t.Context(), directory.TenantSync, []byte(`{"a":`), "20260506070809000")
	require.ErrorContains(t, err, "sign tenantSync: body: malformed JSON")
	_, err = signer.BaseV2(t.Context(), []byte(`{"a":`), client.NewStamp(now))
	require.ErrorContains(t, err, "sign base call: body: malformed JSON")
	signer.Address = "http://a b"
	_, err = signer.KitV2(t.Context(), directory.TenantSync, []byte(`{}`), client.NewStamp(now))
	require.ErrorContains(t, err, "tenantSync: ")
	_, err = signer.KitV1(t.Context(), directory.TenantSync, []byte(`{}`), "20260506070809000")
	require.ErrorContains(t, err, "tenantSync: ")
	_, err = signer.BaseV1(t.Context(), nil)
	require.ErrorContains(t, err, "base call: ")
}

// What the client writes in V1's way, the door reads as the same push.
func TestBothGenerationsSayTheSame(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		push := drawPush(t)
		members, err := client.KitMembers(client.V1, push.Scope, push.Flag, push.SourceTime, push.Payload)
		require.NoError(t, err)
		text, err := members.JSON()
		require.NoError(t, err)
		for _, member := range members {
			if member.Name == "userList" || member.Name == "orgInfo" {
				require.IsType(t, "", member.Value, "V1 has its lists in strings")
			}
		}
		got, err := marketplace.Decode(push.Kind(), text)
		if department, ok := push.Payload.(*directory.DepartmentPush); ok && department.Code == department.ParentCode {
			require.ErrorContains(t, err, "its own parent")
			return
		}
		require.NoError(t, err)
		got.Raw = nil
		require.Equal(t, &push, got)
	})
}

func TestMembersKeepTheirOrder(t *testing.T) {
	t.Parallel()
	m := client.Members{{Name: "b", Value: 1}, {Name: "a", Value: "<&>"}}
	text := func(m client.Members) string {
		text, err := m.JSON()
		require.NoError(t, err)
		return string(text)
	}
	// Compared in a list: an order is no matter to those who compare JSON.
	require.Equal(t, []string{`{"b":2,"a":"<&>","c":[{}]}`, `{"a":"<&>"}`, `{}`, `{"b":1,"a":"<&>"}`}, []string{
		text(m.With("b", 2).With("c", []client.Members{{}})), text(m.Without("b").Without("nobody")), text(nil), text(m),
	})
	_, err := m.With("b", func() {}).JSON()
	require.ErrorContains(t, err, "encode b: ")
	_, err = client.KitMembers(client.V1, directory.Scope{}, 0, 0, foreign{})
	require.ErrorContains(t, err, "no body for")
	require.Equal(t, "v1v2", client.V1.String()+client.V2.String())
}
