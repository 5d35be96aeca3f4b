package control

import "testing"

func TestNamesLoopback(t *testing.T) {
	for host, want := range map[string]bool{
		"localhost": true, "LocalHost:9464": true, "127.0.0.1": true, "127.9.9.9:80": true, "[::1]": true, "[::1]:80": true, "::1": true,
		"": false, "localhost.": false, "localhost.attacker.example": false, "attacker.example:9464": false, "192.0.2.1": false, "[2001:db8::1]:80": false,
		"127.0.0.1.attacker.example": false, "0.0.0.0": false, "127.0.0.1:80:80": false,
	} {
		if got := NamesLoopback(host); got != want {
			t.Errorf("%q: %v", host, got)
		}
	}
}

// FuzzNamesLoopback gives it any Host header.
func FuzzNamesLoopback(f *testing.F) {
	for _, s := range []string{"localhost:1", "[::1]:1", "[::1%25lo]", "::ffff:127.0.0.1", ":", "[", "]"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, host string) {
		if NamesLoopback(host) && NamesLoopback("attacker.example."+host) {
			t.Errorf("%q and a name in front of it both name this machine", host)
		}
	})
}
