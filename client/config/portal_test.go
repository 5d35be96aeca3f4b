package config

import (
	"strings"
	"testing"
	"time"
)

// Shows: HST-5
func TestPortal(t *testing.T) {
	c, err := parse(minimal)
	if err != nil {
		t.Fatal(err)
	}
	q, err := c.Question()
	if err != nil || q.Host != c.External.Address.String() || q.Port != 80 || q.Status != 0 || !c.Portal.Detect {
		t.Errorf("by default %+v, %v", q, err)
	}
	c, err = parse(with("portal", `probe_url = "http://probe.corp.example/ok"
probe_status = 200
probe_body = "ok"
browser = "/opt/browser"
timeout = "1m"`))
	if err != nil {
		t.Fatal(err)
	}
	q, err = c.Question()
	if err != nil || q.URL() != "http://probe.corp.example/ok" || q.Status != 200 || q.Body != "ok" || c.Portal.Browser != "/opt/browser" || c.Portal.Timeout != time.Minute {
		t.Errorf("%+v, %+v, %v", c.Portal, q, err)
	}
	for _, line := range []string{
		`probe_url = "https://probe.corp.example/"`, `probe_url = "http://0x0a000001/"`, `probe_status = 100`, `timeout = "9s"`, `timeout = "2h"`, `browser = ""`,
	} {
		key, _, _ := strings.Cut(line, " =")
		if _, err := parse(with("portal", line)); err == nil || !strings.Contains(err.Error(), "portal."+key) {
			t.Errorf("%s: %v", line, err)
		}
	}
}
