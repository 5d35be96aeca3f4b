package company

import (
	"path/filepath"
	"testing"

	"mipvpn/client/config"
)

// TestClientConfig shows that the laptop's file is one that mipvpn takes, without a warning, with and without options.
func TestClientConfig(t *testing.T) {
	for _, o := range []Options{{}, {InternalEncapsulation: "ipip", ExternalEncapsulation: "udp", Period: "0s", ForceUDPEncapsulation: true}} {
		dir := t.TempDir()
		if err := WriteFiles(dir, o); err != nil {
			t.Fatal(err)
		}
		c, err := config.Load(filepath.Join(dir, ClientConfig))
		if err != nil {
			t.Fatalf("%+v: %v", o, err)
		}
		for _, w := range c.Warnings {
			t.Errorf("%+v: %+v", o, w)
		}
		if o.Period != "" && c.Detection.Period != 0 {
			t.Errorf("the detection period is %v, want 0", c.Detection.Period)
		}
		if want := filepath.Join(dir, Socket); c.Control.Socket != want {
			t.Errorf("the socket is %s, want %s", c.Control.Socket, want)
		}
	}
}
