package config

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestBothGenerationsAreServedByDefault(t *testing.T) {
	t.Parallel()
	c := loadInstances(t, nil)
	require.Equal(t, Interfaces{KitV1: true, KitV2: true, BaseV1: true, BaseV2: true, V1Window: 24 * time.Hour}, c.Interfaces)
	require.Equal(t, "static", c.Instances.Provisioner)
	require.Equal(t, 5*time.Second, c.Instances.Patience)
	require.NoError(t, c.Validate())
	c = loadInstances(t, map[string]any{"interfaces.kitV1": "false", "instances.requireKnown": true})
	require.False(t, c.Interfaces.KitV1)
	require.True(t, c.Instances.RequireKnown)
}

func TestInstanceSettingsThatAreRefused(t *testing.T) {
	t.Parallel()
	for want, flags := range map[string]map[string]any{
		"instances.provisioner":    {"instances.provisioner": "magic"},
		"instances.webhookUrl":     {"instances.provisioner": "webhook", "instances.webhookSecret": "whsec_x"},
		"instances.webhookSecret":  {"instances.provisioner": "webhook", "instances.webhookUrl": "https://a"},
		"instances.webhookTimeout": {"instances.webhookTimeout": "0s"},
		"instances.patience":       {"instances.patience": "-1s"},
		"interfaces.v1Window":      {"interfaces.v1Window": "-1s"},
		"interfaces: all":          {"interfaces.kitV1": false, "interfaces.kitV2": false, "interfaces.baseV1": false, "interfaces.baseV2": false},
	} {
		require.ErrorContains(t, loadInstances(t, flags).Validate(), want)
	}
}

// A seller may have one access key for both.
func TestBaseKeysFallBackToTheKits(t *testing.T) {
	t.Parallel()
	c := loadInstances(t, map[string]any{"kitAccessKeys": "kit-key-1,kit-key-2"})
	require.Len(t, c.BaseKeys(), 2)
	c = loadInstances(t, map[string]any{"kitAccessKeys": "kit-key-1,kit-key-2", "baseAccessKeys": "base-key-1"})
	require.Len(t, c.BaseKeys(), 1)
}

// loadInstances returns the configuration also when it has faults.
func loadInstances(t *testing.T, flags map[string]any) *Config {
	t.Helper()
	c, _ := Load("", nil, flags)
	require.NotNil(t, c)
	return c
}
