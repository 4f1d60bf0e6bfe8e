// Package client plays the marketplace's side: it signs kit calls and sends
// them to a production address, ours or anybody's.
package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/openkoo/connector/directory"
	"github.com/openkoo/connector/marketplace"
)

// maxAnswer bounds what is read of an answer, in bytes.
const maxAnswer = 1 << 20

// Options shape a Client; the zero value serves.
type Options struct {
	HTTP *http.Client     // default: 60 s timeout, no redirects
	Now  func() time.Time // default time.Now
}

// Client sends signed kit calls.
type Client struct {
	base string
	key  string
	http *http.Client
	now  func() time.Time
}

// Answer is what a production address said.
type Answer struct {
	Code    string `json:"resultCode"`
	Message string `json:"resultMsg"`
}

// OK reports success.
func (a Answer) OK() bool { return a.Code == "000000" }

// New makes a client of a production address, e.g. https://isv.example.com/saasproduce.
func New(base, key string, options Options) (*Client, error) {
	u, err := url.Parse(base)
	switch {
	case err != nil:
		return nil, fmt.Errorf("production address: %w", err)
	case u.User != nil:
		return nil, errors.New("production address: want no user and password in it; the signature is the only authentication")
	case u.Host == "" || (u.Scheme != "http" && u.Scheme != "https"):
		return nil, fmt.Errorf("production address %q: want http:// or https:// and a host", base)
	case u.RawQuery != "" || u.Fragment != "":
		return nil, fmt.Errorf("production address %q: want no query and no fragment", base)
	}
	if key == "" {
		return nil, errors.New("access key: empty")
	}
	c := &Client{base: strings.TrimRight(base, "/"), key: key, http: options.HTTP, now: options.Now}
	if c.http == nil {
		c.http = &http.Client{
			Timeout:       60 * time.Second,
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		}
	}
	if c.now == nil {
		c.now = time.Now
	}
	return c, nil
}

// Push signs a body and sends it to one of the five interfaces.
func (c *Client) Push(ctx context.Context, kind directory.PushKind, body []byte) (Answer, error) {
	nonce := strings.ToUpper(strings.ReplaceAll(uuid.NewString(), "-", ""))
	timestamp := strconv.FormatInt(c.now().UnixMilli(), 10)
	sign, err := marketplace.SignKit(c.key, nonce, timestamp, body)
	if err != nil {
		return Answer{}, fmt.Errorf("sign %s: %w", kind, err)
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, c.base+"/produceAPI/v2/"+string(kind), bytes.NewReader(body))
	if err != nil {
		return Answer{}, fmt.Errorf("%s: %w", kind, err)
	}
	request.Header.Set("Content-Type", "application/json; charset=utf-8")
	request.Header.Set("x-sign", sign)
	request.Header.Set("x-timestamp", timestamp)
	request.Header.Set("x-nonce", nonce)
	response, err := c.http.Do(request)
	if err != nil {
		return Answer{}, fmt.Errorf("%s: %w", kind, err)
	}
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	if err != nil {
		return Answer{}, fmt.Errorf("%s: read answer: %w", kind, err)
	}
	var answer Answer
	if err := json.Unmarshal(text, &answer); err != nil || answer.Code == "" {
		return Answer{}, fmt.Errorf("%s: HTTP %d, and no resultCode in the answer; is %s a production address?", kind, response.StatusCode, c.base)
	}
	return answer, nil
}

// Body makes the JSON body of a push (spec/marketplace.md §3).
func Body(scope directory.Scope, flag directory.Flag, at directory.SourceTime, payload directory.Payload) ([]byte, error) {
	body := map[string]any{
		"instanceId": scope.InstanceID, "tenantId": scope.TenantID, "testFlag": 0, "timeStamp": at.Wire(),
	}
	if scope.Dataset == directory.Test {
		body["testFlag"] = 1
	}
	if payload.PushKind() != directory.AllOrgSync {
		body["flag"] = int(flag)
	}
	switch p := payload.(type) {
	case *directory.TenantPush:
		body["orderId"], body["tenantCode"], body["name"], body["domainName"] = p.OrderID, p.Code, p.Name, p.DomainName
	case *directory.ApplicationPush:
		body["appId"], body["clientId"], body["clientSecret"] = p.AppID, p.ClientID, p.ClientSecret
	case *directory.DepartmentPush:
		body["orgCode"], body["orgName"], body["parentCode"] = p.Code, p.Name, p.ParentCode
	case *directory.FullPush:
		list := make([]department, len(p.Departments))
		for i, d := range p.Departments {
			list[i] = department(d)
		}
		body["orgInfoList"] = list
	case *directory.AuthPush:
		list := make([]user, len(p.Users))
		for i := range p.Users {
			list[i] = userOf(&p.Users[i])
		}
		body["appId"], body["userList"], body["currentSyncTime"] = p.AppID, list, at.Wire()
	default:
		return nil, fmt.Errorf("no body for %T", payload)
	}
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(body); err != nil {
		return nil, fmt.Errorf("encode %s: %w", payload.PushKind(), err)
	}
	return b.Bytes(), nil
}

// department is a member of orgInfoList.
type department struct {
	Code       string `json:"orgCode"`
	Name       string `json:"orgName"`
	ParentCode string `json:"parentCode"`
}

// user is a member of userList.
type user struct {
	UserName     string `json:"userName"`
	Name         string `json:"name"`
	OrgCode      string `json:"orgCode"`
	Role         string `json:"role"`
	Enable       string `json:"enable"`
	Position     string `json:"position,omitempty"`
	EmployeeCode string `json:"employeeCode,omitempty"`
	EmployeeType int    `json:"employeeType,omitempty"`
	Mobile       string `json:"mobile,omitempty"`
	Email        string `json:"email,omitempty"`
	WorkPlace    string `json:"workPlace,omitempty"`
	EntryDate    string `json:"entryDate,omitempty"`
}

func userOf(u *directory.UserItem) user {
	return user{
		UserName: u.UserName, Name: u.Name, OrgCode: u.OrgCode, Role: u.Role, Enable: strconv.FormatBool(u.Enabled),
		Position: u.Position, EmployeeCode: u.EmployeeCode, EmployeeType: u.EmployeeType,
		Mobile: u.Mobile, Email: u.Email, WorkPlace: u.WorkPlace, EntryDate: u.EntryDate,
	}
}
