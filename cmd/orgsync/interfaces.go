package main

import (
	"cmp"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/openkoo/connector/admin"
	"github.com/openkoo/connector/config"
	"github.com/openkoo/connector/instance"
	"github.com/openkoo/connector/marketplace"
	"github.com/openkoo/connector/secrets"
	"github.com/openkoo/connector/target/egress"
)

// openInstances wires the instance lifecycle with the provisioner that is
// configured.
func (a *app) openInstances(keyring secrets.Keyring, registry prometheus.Registerer) error {
	c := &a.config.Instances
	provisioner, err := provisionerOf(c)
	if err != nil {
		return err
	}
	a.instances = instance.New(a.store, provisioner, keyring.Box, instance.Options{
		Logger: a.logger, Patience: c.Patience, Lease: max(c.WebhookTimeout, c.Patience) * 2, Spreader: a.fanout, Registerer: registry,
	})
	return nil
}

func provisionerOf(c *config.Instances) (instance.Provisioner, error) {
	if c.Provisioner == "webhook" {
		return sellersWebhook(c)
	}
	return instance.NewStatic(instance.Templates{FrontEndURL: c.FrontEndURL, AdminURL: c.AdminURL, Memo: c.Memo, License: c.License.Reveal()})
}

// sellersWebhook tells the seller's server. It may be in a private network, and
// is told personal data: that goes in clear only where the operator says so.
func sellersWebhook(c *config.Instances) (*instance.Webhook, error) {
	trust, err := egress.TLS(c.CAFile)
	if err != nil {
		return nil, fmt.Errorf("instances.%w", err)
	}
	if u, err := url.Parse(c.WebhookURL.Reveal()); err == nil {
		if err := egress.CheckPlaintext(u, c.Plaintext); err != nil {
			return nil, fmt.Errorf("instances.webhookUrl: %w", err)
		}
	}
	return instance.NewWebhook(instance.WebhookOptions{
		URL: c.WebhookURL.Reveal(), Secret: c.WebhookSecret.Reveal(), Timeout: c.WebhookTimeout,
		HTTP: &http.Transport{ // no Proxy: one from the environment would dial for us, unchecked
			DialContext: egress.Dialer(true).DialContext, TLSClientConfig: trust, TLSHandshakeTimeout: 10 * time.Second,
			ForceAttemptHTTP2: true, IdleConnTimeout: 90 * time.Second, MaxResponseHeaderBytes: 64 << 10,
		},
	})
}

// routes joins the marketplace's interfaces and the API; each answers what is
// not found in its own words.
func (a *app) routes(api *admin.API, registry prometheus.Registerer) (http.Handler, error) {
	gin.SetMode(gin.ReleaseMode)
	router := gin.New()
	router.HandleMethodNotAllowed = true
	router.RedirectTrailingSlash = false // the marketplace follows no redirect
	router.RemoveExtraSlash = true       // the production address may be registered with a slash at its end
	// No header of a caller decides who the audit says it was.
	_ = router.SetTrustedProxies(nil)
	door, err := a.registerMarketplace(router, registry)
	if err != nil {
		return nil, err
	}
	api.Register(router)
	if a.config.BasePath != "" { // else the production address is there
		router.GET("/", a.frontPage)
	}
	// The API's own paths are refused in its own words.
	notFound := func(c *gin.Context) {
		if admin.Owns(c.Request.URL.Path) {
			admin.NotFound(c)
			return
		}
		door.NotFound(c)
	}
	router.NoRoute(notFound)
	router.NoMethod(notFound)
	return withoutDots(router), nil
}

// withoutDots answers paths with a segment . or .. as not there, written out or
// escaped. The router would resolve them: a proxy in front that lets only the
// production address through would let them out of it.
func withoutDots(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for segment := range strings.SplitSeq(r.URL.Path, "/") {
			if segment == "." || segment == ".." {
				http.Error(w, "no such path", http.StatusNotFound)
				return
			}
		}
		next.ServeHTTP(w, r)
	})
}

// frontPage tells whoever opens the address in a browser what is here.
func (a *app) frontPage(c *gin.Context) {
	c.String(http.StatusOK, `orgsync is the production address of a seller on Huawei Cloud KooGallery (华为云商店).

%-14s the marketplace calls here, signed: register this address in the seller console
/api/v1        is it synced? the directory, its changes, deliveries; with the admin token
/healthz       alive? and /readyz: ready? and /metrics, with the admin token
`, a.config.BasePath)
}

// registerMarketplace adds the interfaces of both generations that are
// switched on, and returns the door of the newest.
func (a *app) registerMarketplace(router *gin.Engine, registry prometheus.Registerer) (*marketplace.Door, error) {
	c := a.config
	options := marketplace.Options{
		Keys: c.KitKeys(), BasePath: c.BasePath, Window: c.Window, Ahead: c.Ahead, AnswerWithin: c.AnswerWithin, MaxBody: c.MaxBody, Room: marketplace.NewRoom(cmp.Or(c.MaxBodies, 4*c.MaxBody)), Logger: a.logger, Registerer: registry,
	}
	var receiver marketplace.Receiver = a.intake
	if c.Instances.RequireKnown {
		receiver = instance.Gate{Next: a.intake, Instances: a.instances}
	}
	door, err := marketplace.NewDoor(options, receiver, a.coordination)
	if err != nil {
		return nil, err
	}
	if c.Interfaces.KitV2 {
		door.Register(router)
	}
	if c.Interfaces.KitV1 {
		kit, err := marketplace.NewKitV1(options, c.Interfaces.V1Window, receiver)
		if err != nil {
			return nil, err
		}
		kit.Register(router)
	}
	if !c.Interfaces.BaseV1 && !c.Interfaces.BaseV2 {
		return door, nil
	}
	options.Keys = c.BaseKeys()
	base, err := marketplace.NewBase(options, c.Interfaces.V1Window, a.instances, a.coordination)
	if err != nil {
		return nil, err
	}
	if c.Interfaces.BaseV2 {
		base.RegisterV2(router)
	}
	if c.Interfaces.BaseV1 {
		base.RegisterV1(router)
	}
	return door, nil
}
