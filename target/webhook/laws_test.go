package webhook_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
	"github.com/stretchr/testify/require"

	"github.com/openkoo/connector/target"
	"github.com/openkoo/connector/target/targettest"
	"github.com/openkoo/connector/target/webhook"
)

// application is a receiver that keeps what messages tell it, and is a target's
// server to the suite.
type application struct {
	verifier *standardwebhooks.Webhook

	mu          sync.Mutex
	departments map[string]webhook.Data
	users       map[string]webhook.Data
}

func (a *application) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil || a.verifier.Verify(body, r.Header) != nil {
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	var m webhook.Message
	if json.Unmarshal(body, &m) != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	switch m.Type {
	case webhook.DepartmentUpserted:
		a.departments[m.Data.ExternalID] = m.Data
	case webhook.DepartmentDeleted:
		delete(a.departments, m.Data.ExternalID)
	case webhook.UserUpserted:
		a.users[m.Data.ExternalID] = m.Data
	case webhook.UserDeleted:
		delete(a.users, m.Data.ExternalID)
	case webhook.Ping:
	}
}

func (a *application) Departments(context.Context) ([]targettest.Department, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	var all []targettest.Department
	for id, d := range a.departments {
		all = append(all, targettest.Department{Department: target.Department{
			Object: target.Object{ExternalID: id, RemoteID: id}, Code: d.Department.OrgCode, Name: d.Department.Name,
		}})
	}
	return all, nil
}

func (a *application) Users(context.Context) ([]target.User, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	var all []target.User
	for id, data := range a.users {
		u := data.User
		all = append(all, target.User{
			Object: target.Object{ExternalID: id, RemoteID: id}, UserName: u.SignInName, AccountName: u.UserName, DisplayName: u.Name, Active: u.Active, Role: u.Role,
			Title: u.Position, EmployeeNumber: u.EmployeeCode, EmployeeType: u.EmployeeType, DepartmentCode: u.OrgCode, DepartmentName: u.OrgName,
			Organization: u.Organization, Mobile: u.Mobile, Email: u.Email, WorkPlace: u.WorkPlace, EntryDate: u.EntryDate,
		})
	}
	return all, nil
}

func (a *application) CreateDepartment(_ context.Context, name, externalID string) (string, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.departments[externalID] = webhook.Data{Department: &webhook.Department{Name: name}}
	return externalID, nil
}

func (a *application) CreateUser(_ context.Context, userName, externalID string) (string, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.users[externalID] = webhook.Data{User: &webhook.User{SignInName: userName}}
	return externalID, nil
}

func (a *application) Delete(_ context.Context, kind target.MemberKind, remoteID string) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if kind == target.MemberDepartment {
		delete(a.departments, remoteID)
	} else {
		delete(a.users, remoteID)
	}
	return nil
}

func TestLaws(t *testing.T) {
	t.Parallel()
	verifier, err := standardwebhooks.NewWebhook(newSecret)
	require.NoError(t, err)
	a := &application{verifier: verifier, departments: map[string]webhook.Data{}, users: map[string]webhook.Data{}}
	server := httptest.NewServer(a)
	t.Cleanup(server.Close)
	const (
		names  = "a receiver knows entities by our names alone; there is nothing to find or to take over"
		status = "any 2xx is a success, whatever the body (Standard Webhooks); TestAnAnswerThatNeverEndsIsStillTheAnswerItBeganWith"
		groups = "there are no memberships: a user's message names the department"
	)
	targettest.Run(t, targettest.Bench{
		Server: a, URL: server.URL, Secret: newSecret,
		Connect: func(t testing.TB, url, secret string, patience time.Duration) target.Connector {
			if secret != newSecret {
				secret = "whsec_" + base64.StdEncoding.EncodeToString([]byte(secret+secret))
			}
			c, err := webhook.New(webhook.Config{URL: url, Secrets: []string{secret}, AllowPrivate: true, Timeout: patience})
			require.NoError(t, err)
			return c
		},
		Deviations: map[string]string{
			"found again/an account of that name with another owner is a conflict, and left alone": names,
			"found again/an account of that name without an owner is taken over":                   names,
			"found again/two objects of our name are a conflict":                                   names,
			"failures/a conflict on a change is a conflict":                                        names,
			"failures/garbage in place of what was created is not taken for it":                    status,
			"failures/a page in place of an answer is not taken for success":                       status,
			"failures/an endless answer is not read to its end":                                    status,
			"checks/the wrong secret is told":                                                      "only a message could tell, and a check sends none",
			"members/members are added and removed, one twice as good as once":                     groups,
			"members/many members go in one change":                                                groups,
			"members/renaming a department leaves its members alone":                               groups,
			"members/members of a department that is gone fail as gone":                            groups,
			"classes/403": "a receiver refuses us, not one entity; TestWhatAnAnswerMeans",
		},
	})
}
