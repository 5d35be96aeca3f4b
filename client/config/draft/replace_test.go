package draft

import (
	"strings"
	"testing"

	"mipvpn/client/config"
)

// Tables are replaced where they stand, and everything else stays as it is.
func TestReplace(t *testing.T) {
	d := &Draft{}
	for key, text := range map[string]string{"gateway.address": "192.0.2.99", "gateway.local_identity": "a@b.c", "gateway.remote_identity": "gw.b.c", "authentication.rounds": "certificate", "trust.anchors": "ca.pem"} {
		if err := d.SetText(key, text); err != nil {
			t.Fatal(err)
		}
	}
	old := full(t).TOML()
	got := string(d.Replace(old, "gateway", "authentication", "trust"))
	for _, want := range []string{`address = "192.0.2.99"`, `anchors = ["ca.pem"]`, `prefixes = ["10.0.0.0/16", "10.2.0.0/16"]`, `t_monitor = "90s"`} {
		if strings.Count(got, want) != 1 {
			t.Errorf("%q is %d times in\n%s", want, strings.Count(got, want), got)
		}
	}
	for _, not := range []string{"gw.corp.example", "psk_file"} {
		if strings.Contains(got, not) {
			t.Errorf("%q is still in\n%s", not, got)
		}
	}
	if strings.Count(got, titles["gateway"]) != 1 {
		t.Errorf("the title is there again in\n%s", got)
	}
	d.Set("authentication.certificate", "x.p12")
	if err := config.CheckText("f", d.Replace(old, "gateway", "authentication", "trust")); err != nil {
		t.Error(err)
	}
	for _, tc := range []struct{ in, want string }{
		{"", "[a]"}, {"x = 1", "x = 1\n\n[a]"}, {"[ trust ] # one\ny = 2\n[b]\n", "[a]\n\n[b]\n"}, {"[trust", "[trust\n\n[a]"},
	} {
		got := string((&Draft{values: map[string]any{"trust.fetch": true}}).Replace([]byte(tc.in), "trust"))
		lines := strings.Split(got, "\n")
		var kept []string
		for _, l := range lines {
			switch {
			case l == "[trust]":
				kept = append(kept, "[a]")
			case strings.HasPrefix(l, "#"), strings.HasPrefix(l, "fetch"):
			default:
				kept = append(kept, l)
			}
		}
		if s := strings.TrimSuffix(strings.Join(kept, "\n"), "\n"); strings.TrimSpace(s) != strings.TrimSpace(tc.want) {
			t.Errorf("%q: %q, want %q", tc.in, s, tc.want)
		}
	}
}
