package marketplace

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"hash"
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
	mac := kitMAC(key, nonce, timestamp)
	mac.Write(canonical)
	return hex.EncodeToString(mac.Sum(nil)), nil
}

// kitMAC is the HMAC of a kit call up to its payload.
func kitMAC(key, nonce, timestamp string) hash.Hash {
	mac := hmac.New(sha256.New, []byte(key))
	_, _ = io.WriteString(mac, key+nonce+timestamp)
	return mac
}

// verifyKit finds the key a signature was made with: over the canonical
// payload, or else over the body as it came. Every key is tried, whether or
// not one has fitted, and all comparisons take the same time.
func verifyKit(keys []string, sent stamp, body []byte, members []member) (key string, ok bool) {
	given := []byte(strings.ToLower(sent.signature))
	payloads := []func(io.Writer){
		func(w io.Writer) { writeCanonical(w, members) },
		func(w io.Writer) { _, _ = w.Write(body) },
	}
	for _, payload := range payloads {
		macs := make([]hash.Hash, len(keys))
		all := make([]io.Writer, len(keys))
		for i, candidate := range keys {
			macs[i] = kitMAC(candidate, sent.nonce, sent.timestamp)
			all[i] = macs[i]
		}
		payload(io.MultiWriter(all...))
		for i, candidate := range keys {
			want := hex.AppendEncode(nil, macs[i].Sum(nil))
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
