//go:build !windows

package credential

import (
	"fmt"
	"net"
	"os/exec"
	"path/filepath"
	"testing"
)

// TestKeyFileOfTPM2OpenSSL shows that the key file that tpm2-openssl makes is read. That one talks to an emulated TPM over two TCP
// ports, one after the other.
//
// Shows: IKE-2
func TestKeyFileOfTPM2OpenSSL(t *testing.T) {
	if _, err := exec.LookPath("swtpm"); err != nil {
		t.Skip("swtpm is not installed (Debian: swtpm)")
	}
	if b, err := exec.CommandContext(t.Context(), "openssl", "version", "-m").CombinedOutput(); err != nil {
		t.Skipf("openssl is not installed (Debian: openssl): %v %s", err, b)
	}
	if found, err := filepath.Glob("/usr/lib/*/ossl-modules/tpm2.so"); err != nil || len(found) == 0 {
		t.Skip("tpm2-openssl is not installed (Debian: tpm2-openssl)")
	}
	state, dir := t.TempDir(), t.TempDir()
	port := twoPorts(t)
	tpm := exec.Command("swtpm", "socket", "--tpm2", "--tpmstate", "dir="+state, "--flags", "not-need-init,startup-clear",
		"--server", fmt.Sprintf("type=tcp,port=%d", port), "--ctrl", fmt.Sprintf("type=tcp,port=%d", port+1))
	end := start(t, tpm, "tcp", fmt.Sprintf("127.0.0.1:%d", port+1))
	openssl := func(args ...string) {
		t.Helper()
		c := exec.CommandContext(t.Context(), "openssl", args...)
		c.Env = append(c.Environ(), fmt.Sprintf("TPM2OPENSSL_TCTI=swtpm:host=127.0.0.1,port=%d", port))
		if b, err := c.CombinedOutput(); err != nil {
			t.Fatalf("openssl %v: %v\n%s", args, err, b)
		}
	}
	key, cert := filepath.Join(dir, "key.pem"), filepath.Join(dir, "cert.pem")
	openssl("genpkey", "-provider", "tpm2", "-provider", "default", "-algorithm", "EC", "-pkeyopt", "group:P-256", "-out", key)
	openssl("req", "-provider", "tpm2", "-provider", "default", "-propquery", "?provider=tpm2", "-x509", "-key", key, "-subj", "/CN=laptop", "-out", cert)
	end()
	socket := filepath.Join(shortDir(t), "s")
	end = start(t, exec.Command("swtpm", "socket", "--tpm2", "--tpmstate", "dir="+state, "--flags", "not-need-init,startup-clear",
		"--server", "type=unixio,path="+socket), "unix", socket)
	defer end()
	s := source(cert, key)
	s.Device = socket
	c, err := Load(s)
	if err != nil {
		t.Fatal(err)
	}
	exercise(t, c)
	if err := c.Close(); err != nil {
		t.Error(err)
	}
}

// twoPorts returns the first of two TCP ports, one behind the other, that were free a moment ago.
func twoPorts(t *testing.T) int {
	t.Helper()
	for range 100 {
		first, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer first.Close()
		a, ok := first.Addr().(*net.TCPAddr)
		if !ok {
			t.Fatalf("address %v", first.Addr())
		}
		if second, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", a.Port+1)); err == nil {
			second.Close()
			first.Close()
			return a.Port
		}
	}
	t.Fatal("no two ports are free")
	return 0
}
