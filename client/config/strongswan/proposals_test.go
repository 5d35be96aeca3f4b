package strongswan

import (
	"strings"
	"testing"
	"testing/fstest"
)

// A proposal is taken over as the first profile with which the gateway can be reached that takes it, and never in silence.
func TestProposals(t *testing.T) {
	for _, tc := range []struct{ ike, esp, profile, said string }{
		{"", "", "", ""},
		{"default", "default", "", ""},
		{"aes256gcm16-prfsha256-x25519", "", "", "offers that"},
		{"aes256gcm128-prfsha384-ecp384, 3des-md5-modp768", "aes128gcm16-ecp256", "", "offers that"},
		{"chacha20poly1305-prfsha512-curve25519-ke1_mlkem768", "chacha20poly1305-x25519-ke1_mlkem768", "", "offers that"},
		{"aes256gcm16-prfsha256-x25519-ke1_mlkem512-ke1_none-ke3_none", "", "", "offers that"},
		{"aes256-sha256-modp2048", "aes128gcm16", "compatible", "offers that"},
		{"aes-aes256-sha2_384-modp4096, default", "aes256-sha512-noesn", "compatible", "offers that"},
		{"aes256gcm16-prfsha256-modp3072", "default", "compatible", "offers that"},
		{"aes256gcm16-prfsha256-x25519", "aes256gcm16-modp2048", "compatible", "offers that"},
		{"aes128-sha1-modp1024", "", "compatible", "no gateway.profile"},
		{"aes256gcm16-prfsha256-x448", "", "compatible", "no gateway.profile"},
		{"aes256gcm16-x25519", "", "compatible", "no gateway.profile"}, // without a pseudo-random function
		{"aes256-prfsha256-x25519", "", "compatible", "no gateway.profile"},
		{"aes256gcm16-prfsha256-x25519-ke1_mlkem512", "", "compatible", "no gateway.profile"},
		{"default", "aes256gcm16-ecp224", "compatible", "no gateway.profile"},
		{"default", "3des-sha1", "compatible", "no gateway.profile"},
	} {
		text := "connections { a {\nremote_addrs = 192.0.2.1\nproposals = " + tc.ike + "\nlocal { auth = psk\nid = a.b\n}\nremote { auth = psk\nid = c.d\n}\nchildren { c { esp_proposals = " + tc.esp + "\n} } } }\nsecrets { ike { secret = x\n } }"
		r, err := ParseSwanctl(fstest.MapFS{"f": {Data: []byte(text)}}, "/", "f", "")
		if err != nil {
			t.Errorf("%+v: %v", tc, err)
			continue
		}
		var messages strings.Builder
		for _, m := range r.Remarks {
			messages.WriteString(m.Message)
		}
		if got := r.Draft.Text("gateway.profile"); got != tc.profile || !strings.Contains(messages.String(), tc.said) || (tc.said == "") != (len(r.Remarks) == 0) {
			t.Errorf("%+v: profile %q, %+v", tc, got, r.Remarks)
		}
	}
}
