package storage

import "github.com/openkoo/connector/directory"

// KeptApplication is how a store keeps an application: with its sealed secret,
// which the entity's own JSON leaves out so that nobody is shown it by accident.
type KeptApplication struct {
	directory.Application
	SealedSecret      []byte `json:"sealedSecret,omitempty"`
	SecretFingerprint []byte `json:"secretFingerprint,omitempty"`
}

// Keep is the application as it is to be kept.
func Keep(a *directory.Application) KeptApplication {
	return KeptApplication{Application: *a, SealedSecret: a.SealedSecret, SecretFingerprint: a.SecretFingerprint}
}

// Whole is the application with its sealed secret.
func (k *KeptApplication) Whole() directory.Application {
	a := k.Application
	a.SealedSecret, a.SecretFingerprint = k.SealedSecret, k.SecretFingerprint
	return a
}
