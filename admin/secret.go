package admin

import (
	"errors"
	"fmt"
	"net/http"

	"github.com/gin-gonic/gin"

	"github.com/openkoo/connector/directory"
	"github.com/openkoo/connector/storage"
)

// Revealer opens client secrets that are kept sealed.
type Revealer interface {
	RevealClientSecret(sealed []byte) (string, error)
}

// maxBy bounds the name of who asks, in bytes.
const maxBy = 200

// clientSecretView is an application's credential as the marketplace gave it:
// the seller's application signs users in with it (spec/marketplace.md §3.2).
type clientSecretView struct {
	directory.Scope
	AppID        string `json:"appId"`
	ClientID     string `json:"clientId"`
	ClientSecret string `json:"clientSecret"`
}

// clientSecret is the one call that shows a client secret, and it is noted
// before it is answered.
func (a *API) clientSecret(c *gin.Context) {
	app, scope, err := a.oneApplication(c)
	if err != nil {
		fail(c, err)
		return
	}
	by := c.Query("by")
	if len(by) > maxBy {
		fail(c, &badRequestError{fmt.Sprintf("by: longer than %d bytes", maxBy)})
		return
	}
	secret, err := a.Revealer.RevealClientSecret(app.SealedSecret)
	if err != nil {
		fail(c, fmt.Errorf("client secret of application %q of %s: %w", app.AppID, scope, err))
		return
	}
	a.Logger.Info("audit: client secret read", "appId", app.AppID, "scope", scope.String(), "by", by, "at", a.Now(), "remote", c.ClientIP())
	c.JSON(http.StatusOK, clientSecretView{Scope: scope, AppID: app.AppID, ClientID: app.ClientID, ClientSecret: secret})
}

// oneApplication finds the living application that a request names.
func (a *API) oneApplication(c *gin.Context) (directory.Application, directory.Scope, error) {
	state, err := a.oneScope(c)
	missing := fmt.Errorf("application %q of %s: %w", inPath(c, "appId"), state.Scope, storage.ErrNotFound)
	if errors.Is(err, storage.ErrNotFound) {
		return directory.Application{}, state.Scope, missing
	}
	if err != nil {
		return directory.Application{}, state.Scope, err
	}
	found, _, err := a.Reader.Applications(c.Request.Context(), storage.EntityFilter{
		Dataset: state.Scope.Dataset, InstanceID: &state.Scope.InstanceID, TenantID: state.Scope.TenantID, Key: inPath(c, "appId"),
	}, storage.Page{Limit: 1})
	if err != nil {
		return directory.Application{}, state.Scope, err
	}
	if len(found) == 0 || len(found[0].Entity.SealedSecret) == 0 {
		return directory.Application{}, state.Scope, missing
	}
	return found[0].Entity, state.Scope, nil
}
