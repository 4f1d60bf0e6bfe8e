package egress_test

import (
	"net/url"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/openkoo/connector/target/egress"
)

func TestPlaintextStaysOnThisMachineUnlessAllowed(t *testing.T) {
	t.Parallel()
	for text, fine := range map[string]bool{
		"https://idp.example.com": true, "ldaps://idp.example.com": true,
		"http://localhost:8080": true, "http://LOCALHOST": true, "http://localhost.": true, "http://scim.localhost": true,
		"http://127.0.0.1:1": true, "http://127.9.9.9": true, "http://[::1]:1": true, "http://[::ffff:127.0.0.1]": true,
		"http://idp.example.com": false, "HTTP://idp.example.com": false, "http://10.0.0.5": false, "http://192.168.1.1:8080": false,
		"http://[fe80::1%25eth0]": false, "http://localhost.example.com": false, "http://notlocalhost": false, "http://127.0.0.1.example.com": false,
		"http://0.0.0.0": false, "http://[::]": false, "http://2130706433": false,
	} {
		u, err := url.Parse(text)
		require.NoError(t, err)
		if fine {
			require.NoError(t, egress.CheckPlaintext(u, false), text)
		} else {
			require.ErrorIs(t, egress.CheckPlaintext(u, false), egress.ErrPlaintext, text)
		}
		require.NoError(t, egress.CheckPlaintext(u, true), text)
	}
}
