package newcomer

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// hotelArgument has the test's program be the page of a captive portal.
const hotelArgument = "hotel"

// hotelRules make the router of the café one that lets nobody out, and answers HTTP for everybody.
const hotelRules = `table ip hotel {
	chain prerouting { type nat hook prerouting priority dstnat; iifname "cafe" tcp dport 80 redirect to :8080; }
	chain forward { type filter hook forward priority filter; iifname "cafe" drop; }
}`

// serveHotel serves the page until the standard input ends.
func serveHotel() error {
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}()
	return http.ListenAndServe(":8080", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Host != "192.168.1.1" {
			http.Redirect(w, r, "http://192.168.1.1/login", http.StatusFound)
			return
		}
		fmt.Fprintln(w, "the hotel says hello")
	}))
}

// browse is what alice has for a browser: it asks for the page, and then for what it must not reach.
const browse = `#!/bin/bash
exec >/home/alice/page 2>&1
exec 3<>/dev/tcp/192.168.1.1/80 && printf 'GET /login HTTP/1.0\r\nHost: 192.168.1.1\r\n\r\n' >&3 && cat <&3
for other in 10.0.1.20 192.0.2.10; do timeout 5 bash -c "exec 3<>/dev/tcp/$other/80" && echo "$other is reached"; done
echo done`

// behindPortal turns the café into a hotel, on whose router the page is. Who is at the laptop may open the way to it, by the rule of
// docs/administrator.md, and for the browser alone.
func (m *machine) behindPortal(t *testing.T) {
	if _, err := exec.LookPath("nft"); err != nil {
		t.Skip("nft is not installed")
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	page := exec.Command(m.lab.miplab, "exec", "--dir", m.lab.dir, "cafe-router", "--", self, hotelArgument)
	in, err := page.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := page.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		in.Close()
		_ = page.Wait()
	})
	m.lab.must("cafe-router", "nft", hotelRules)
	m.write("/usr/local/bin/browse", "0755", browse)
	m.write("/etc/polkit-1/rules.d/50-portal.rules", "0644", `polkit.addRule(function(a, s) { if (a.id == "org.mipvpn.portal" && s.active && s.local) return polkit.Result.YES; });`)
	m.must("printf '[portal]\\nbrowser = \"/usr/local/bin/browse\"\\n' >>/etc/mipvpn/mipvpn.toml; systemctl restart polkit mipvpn")
	m.awaits("mipvpn status", "captive portal at 192.168.1.1", "run `mipvpn portal`")
	says(t, "mipvpn portal", m.session("seat0", "mipvpn portal"), "opens http://192.168.1.1/login through eth0", "confined by cgroup v2", "the way to the portal is closed")
	got := m.must("cat /home/alice/page")
	says(t, "what the browser saw", got, "the hotel says hello", "done")
	if strings.Contains(got, "is reached") {
		t.Errorf("the browser has left its way:\n%s", got)
	}
}
