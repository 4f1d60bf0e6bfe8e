package marketplace

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"io"
	"strings"
)

// SignKit is the x-sign of a kit call: HexEncode(HMAC_SHA256(key, key + nonce +
// timestamp + payload)) over the body's canonical payload (spec/marketplace.md
// §1.2). timestamp is in UNIX milliseconds, 13 digits.
func SignKit(key, nonce, timestamp string, body []byte) (string, error) {
	canonical, err := Canonical(body)
	if err != nil {
		return "", err
	}
	return kitSignature(key, nonce, timestamp, func(w io.Writer) { _, _ = w.Write(canonical) }), nil
}

func kitSignature(key, nonce, timestamp string, payload func(io.Writer)) string {
	mac := hmac.New(sha256.New, []byte(key))
	_, _ = io.WriteString(mac, key+nonce+timestamp)
	payload(mac)
	return hex.EncodeToString(mac.Sum(nil))
}

// verifyKit finds the key a signature was made with: over the canonical
// payload, or else over the body as it came. Every key is tried, whether or
// not one has fitted, and all comparisons take the same time.
func verifyKit(keys []string, signature, nonce, timestamp, body string, members []member) (key string, ok bool) {
	given := []byte(strings.ToLower(signature))
	payloads := []func(io.Writer){
		func(w io.Writer) { writeCanonical(w, members) },
		func(w io.Writer) { writeRaw(w, body) },
	}
	for _, payload := range payloads {
		for _, candidate := range keys {
			want := []byte(kitSignature(candidate, nonce, timestamp, payload))
			if subtle.ConstantTimeCompare(given, want) == 1 {
				key, ok = candidate, true
			}
		}
		if ok {
			return key, true
		}
	}
	return "", false
}

func writeRaw(w io.Writer, body string) {
	c := &canonicalWriter{out: w, buf: make([]byte, 0, canonicalBuffer)}
	c.text(body)
	c.flush()
}
