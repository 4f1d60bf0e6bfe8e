package main

import (
	"github.com/gin-gonic/gin"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/openkoo/connector/coordination/local"
	"github.com/openkoo/connector/instance"
	"github.com/openkoo/connector/marketplace"
	"github.com/openkoo/connector/secrets"
)

// newInstances wires the instance lifecycle with the provisioner that is
// configured.
func (a *app) newInstances(keyring secrets.Keyring) (*instance.Service, error) {
	c := &a.config.Instances
	options := instance.Options{Logger: a.logger, Patience: c.Patience, Lease: max(c.WebhookTimeout, c.Patience) * 2}
	if c.Provisioner == "webhook" {
		webhook, err := instance.NewWebhook(instance.WebhookOptions{URL: c.WebhookURL, Secret: c.WebhookSecret, Timeout: c.WebhookTimeout})
		if err != nil {
			return nil, err
		}
		return instance.New(a.store, webhook, keyring.Box, options), nil
	}
	static, err := instance.NewStatic(instance.Templates{FrontEndURL: c.FrontEndURL, AdminURL: c.AdminURL, Memo: c.Memo, License: c.License})
	if err != nil {
		return nil, err
	}
	return instance.New(a.store, static, keyring.Box, options), nil
}

// registerMarketplace adds the interfaces of both generations that are
// switched on.
func (a *app) registerMarketplace(router *gin.Engine, registry prometheus.Registerer) error {
	c := a.config
	options := marketplace.Options{
		Keys: c.KitAccessKeys, BasePath: c.BasePath, Window: c.Window, MaxBody: c.MaxBody, Logger: a.logger, Registerer: registry,
	}
	var receiver marketplace.Receiver = a.intake
	if c.Instances.RequireKnown {
		receiver = instance.Gate{Next: a.intake, Instances: a.instances}
	}
	nonces := local.NewNonces(0, nil)
	door, err := marketplace.NewDoor(options, receiver, nonces)
	if err != nil {
		return err
	}
	router.NoRoute(door.NotFound)
	router.NoMethod(door.NotFound)
	if c.Interfaces.KitV2 {
		door.Register(router)
	}
	if c.Interfaces.KitV1 {
		kit, err := marketplace.NewKitV1(options, c.Interfaces.V1Window, receiver)
		if err != nil {
			return err
		}
		kit.Register(router)
	}
	if !c.Interfaces.BaseV1 && !c.Interfaces.BaseV2 {
		return nil
	}
	options.Keys = c.BaseKeys()
	base, err := marketplace.NewBase(options, c.Interfaces.V1Window, a.instances, nonces)
	if err != nil {
		return err
	}
	if c.Interfaces.BaseV2 {
		base.RegisterV2(router)
	}
	if c.Interfaces.BaseV1 {
		base.RegisterV1(router)
	}
	return nil
}
