package resolve

import (
	"fmt"
	"testing"
)

const scutilText = `DNS configuration

resolver #1
  search domain[0] : hotel.example
  nameserver[0] : 192.168.1.1
  if_index : 4 (en0)
  flags    : Request A records
  reach    : 0x00020002 (Reachable,Directly Reachable Address)

DNS configuration (for scoped queries)

resolver #1
  search domain[0] : hotel.example
  nameserver[0] : 192.168.1.1
  nameserver[1] : fe80::1%en0
  nameserver[2] : 192.168.1.2
  if_index : 4 (en0)
  flags    : Scoped, Request A records

resolver #2
  nameserver[0] : 10.7.0.1
  if_index : 9 (en7)
  flags    : Scoped, Request A records
`

// The servers that darwin tells of an interface, whatever is in use.
func TestScutilServers(t *testing.T) {
	for iface, want := range map[string]string{"en0": "[192.168.1.1 fe80::1%en0 192.168.1.2]", "en7": "[10.7.0.1]", "en9": "[]", "": "[]"} {
		if got := fmt.Sprint(scutilServers(scutilText, iface)); got != want {
			t.Errorf("%q: %s, want %s", iface, got, want)
		}
	}
}

func FuzzScutilServers(f *testing.F) {
	f.Add(scutilText, "en0")
	f.Fuzz(func(t *testing.T, text, iface string) {
		for _, a := range scutilServers(text, iface) {
			if !a.IsValid() {
				t.Errorf("an address that is none")
			}
		}
	})
}
