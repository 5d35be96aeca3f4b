package interop

import (
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"mipvpn/ipsec/interop/charon"
	"mipvpn/ipsec/pki/pkitest"
	"mipvpn/tun/hostnet/netnstest"
)

// Shows: IKE-1, IKE-2, IKE-4, IKE-5, IKE-9, AGT-7, GDL-1 (strongSwan's own client to the program). charon connects to `mipagent run`, whose TUN device
// leads to a host behind it; data passes before and after each end has rekeyed; charon deletes.
func TestCharonConnectsToMipagent(t *testing.T) {
	t.Parallel()
	netnstest.New(t)
	program := filepath.Join(t.TempDir(), "mipagent")
	build := exec.Command("go", "build", "-trimpath", "-o", program, "../../cmd/mipagent")
	build.Env = append(os.Environ(), "CGO_ENABLED=0") // as the programs are built
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	const twoRounds = "ECDSA, then EAP-MSCHAPv2"
	for _, c := range []struct {
		peer peer
		auth string
	}{{strongSwan59, "PSK"}, {strongSwan61, "PSK"}, {strongSwan61, "ECDSA P-256"}, {strongSwan59, "EAP-MSCHAPv2"}, {strongSwan60, "EAP-TLS only"}, {strongSwan60, twoRounds}} {
		p := c.peer
		t.Run(p.name+", "+c.auth, func(t *testing.T) {
			r := &recorder{TB: t}
			on := mustGround(r, t, p, responder)
			on.addInside()
			dir := t.TempDir()
			one := plainCase(p, responder)
			one.auth = authenticationOf(c.auth)
			g := newGame(r, on, one)
			for name, text := range g.mipagentFiles() {
				if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			log := runProgram(t, on.gate, program, "run", "--config", filepath.Join(dir, "gateway.toml"))
			g.load()
			// It has its sockets a moment after it has begun; charon repeats what comes too early.
			eventually(r, "charon is connected", func() (bool, string) {
				err := <-g.initiate()
				return err == nil, fmt.Sprint(err, "\n", log())
			})
			sa := g.sas(r)[0]
			vips := sa.List("local-vips")
			if len(vips) != 1 || sa.String("remote-id") != gatewayName {
				t.Fatalf("charon has %v", sa)
			}
			vip, err := netip.ParseAddr(vips[0])
			if err != nil {
				t.Fatal(err)
			}
			tr := newTraveller(r, on.client, vip)
			tr.data()
			for _, what := range []charon.Section{{"child": childName}, {"ike": connection}, {"child": childName}} {
				g.call(r, "rekey", what)
				eventually(r, "charon has rekeyed", func() (bool, string) {
					sas := g.sas(r)
					return len(sas) == 1 && sas[0].String("state") == "ESTABLISHED" && len(installed(sas[0])) == 1, fmt.Sprint(sas)
				})
				tr.data()
			}
			g.call(r, "terminate", charon.Section{"ike": connection, "timeout": "20000"})
			g.noSAs(r)
		})
	}
}

// mipagentFiles are mipagent's configuration for a case, and what that names.
func (g *game) mipagentFiles() map[string]string {
	conf := fmt.Sprintf(`schema = 1
[control]
socket = ""
[gateway]
address = %q
identity = %q
pool = %q
networks = [%q]
dns = [%q]
`, gatewayAddr, gatewayName, poolPrefix, company, nameServer)
	if g.auth.pskOnly() {
		return map[string]string{"psk": string(key), "gateway.toml": conf + fmt.Sprintf("[[gateway.peer]]\nidentity = %q\npsk_file = \"psk\"\n", clientName)}
	}
	var proofs []string
	method := ""
	for _, word := range g.auth.client {
		proof := "certificate"
		if word != byCertificate {
			proof, method = "eap", strings.TrimPrefix(word, "eap-")
		}
		proofs = append(proofs, fmt.Sprintf("%q", proof))
	}
	conf += fmt.Sprintf(`[gateway.certificate]
file = "gateway.pem"
key = "gateway.key"
[gateway.trust]
anchors = ["ca.pem"]
fetch = false
[[gateway.rule]]
proofs = [%s]
`, strings.Join(proofs, ", "))
	if method != "" {
		conf += fmt.Sprintf("eap_only = %t\n[gateway.eap]\nmethods = [%q]\n[[gateway.user]]\nname = %q\npassword_file = \"password\"\n",
			g.auth.eapOnly, method, userName)
	}
	return map[string]string{"gateway.toml": conf, "ca.pem": string(pkitest.PEM(rootCA().Certificate)), "password": userPassword,
		"gateway.pem": string(pkitest.PEM(g.mine.gateway.Certificate)), "gateway.key": string(pkitest.KeyPEM(g.mine.gateway.Key))}
}

// authenticationOf finds a way of authenticating by its name.
func authenticationOf(name string) authentication {
	all := allAuthentications()
	return all[slices.IndexFunc(all, func(a authentication) bool { return a.name == name })]
}

// installed are the child SAs of an IKE SA that are in use.
func installed(sa charon.Section) (out []charon.Section) {
	children := sa.Section("child-sas")
	for _, name := range sections(children) {
		if c := children.Section(name); c.String("state") == "INSTALLED" {
			out = append(out, c)
		}
	}
	return out
}

// runProgram runs a program of ours in the namespace until the test's end, and returns what gives its messages.
func runProgram(t *testing.T, ns *os.File, args ...string) (log func() string) {
	t.Helper()
	var out lockedBuilder
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := charon.In(ns)(cmd); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
			t.Error(err)
		}
		if err := cmd.Wait(); err != nil || t.Failed() {
			t.Errorf("%s: %v\n%s", args[0], err, out.String())
		}
	})
	return out.String
}

// lockedBuilder is a strings.Builder for two goroutines.
type lockedBuilder struct {
	mu sync.Mutex
	b  strings.Builder
}

// Write implements io.Writer.
func (l *lockedBuilder) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuilder) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
