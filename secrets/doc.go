// Package secrets keeps what must not be read: it opens what the marketplace
// encrypted for the seller (RSA-OAEP), seals what is stored (AES-256-GCM), and
// makes the keys for both.
package secrets
