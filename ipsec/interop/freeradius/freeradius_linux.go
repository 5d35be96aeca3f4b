package freeradius

import (
	"bufio"
	"bytes"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"mipvpn/ipsec/interop/charon"
)

// program is the daemon of Debian's package freeradius.
const program = "/usr/sbin/freeradius"

// patience is how long the server may take to start.
const patience = 20 * time.Second

// Options say what the server is started with.
type Options struct {
	// Namespace is the network namespace that it lives in.
	Namespace *os.File
	// Address is where it listens, on ports 1812 and 1813; Client is whom it answers, Secret the secret with it.
	Address, Client netip.Addr
	Secret          string
	// TLS is the version of TLS that it speaks: "1.2" or "1.3".
	TLS string
	// Authority, Certificate and Key are PEM files: who signs users' certificates, and its own.
	Authority, Certificate, Key string
}

// configuration needs nothing of the host's.
const configuration = `
libdir = /usr/lib/freeradius
logdir = DIR
run_dir = DIR
pidfile = DIR/radiusd.pid
max_requests = 1024
thread pool {
	start_servers = 1
	max_servers = 1
	min_spare_servers = 1
	max_spare_servers = 1
}
security {
	reject_delay = 0
	max_attributes = 200
}
modules {
	always ok {
		rcode = ok
	}
	pap {
	}
	mschap {
	}
	chap {
	}
	eap {
		default_eap_type = ttls
		tls-config common {
			private_key_file = KEY
			certificate_file = CERTIFICATE
			ca_file = AUTHORITY
			fragment_size = 700
			tls_min_version = "VERSION"
			tls_max_version = "VERSION"
			cipher_list = "DEFAULT"
		}
		tls {
			tls = common
		}
		ttls {
			tls = common
			default_eap_type = mschapv2
			virtual_server = inner
		}
		mschapv2 {
		}
	}
}
client gateway {
	ipaddr = CLIENT
	secret = "SECRET"
	require_message_authenticator = yes
}
server default {
	listen {
		type = auth
		ipaddr = ADDRESS
		port = 1812
	}
	listen {
		type = acct
		ipaddr = ADDRESS
		port = 1813
	}
	authorize {
		if (&User-Name == "alice" || &User-Name == "BIGCO\\alice") {
			update control {
				&Cleartext-Password := "secret"
			}
		}
		chap
		eap
	}
	authenticate {
		Auth-Type MS-CHAP {
			mschap
		}
		Auth-Type CHAP {
			chap
		}
		eap
	}
	post-auth {
		Post-Auth-Type REJECT {
			update reply {
				&Message-Authenticator := 0x00
			}
		}
		update reply {
			&Framed-IP-Address := 10.0.0.7
			&Filter-Id := "staff"
			&Class := 0x0102
			&Message-Authenticator := 0x00
		}
	}
	accounting {
		ok
	}
}
server inner {
	authorize {
		if (&User-Name == "alice" || &User-Name == "BIGCO\\alice") {
			update control {
				&Cleartext-Password := "secret"
			}
		}
		mschap
		eap
		pap
	}
	authenticate {
		Auth-Type PAP {
			pap
		}
		Auth-Type MS-CHAP {
			mschap
		}
		eap
	}
}
`

// Start starts the server and waits until it listens; it is killed at the test's end, and what it said is logged if the test
// has failed. The users are alice and BIGCO\alice with the password "secret": each gets the address 10.0.0.7, the filter "staff"
// and a class. It skips the test, with the reason, where FreeRADIUS is not installed.
func Start(t testing.TB, o Options) {
	t.Helper()
	if _, err := os.Stat(program); err != nil {
		t.Skipf("needs FreeRADIUS: %v: install freeradius", err)
	}
	dir := t.TempDir()
	text := strings.NewReplacer("DIR", dir, "VERSION", o.TLS, "ADDRESS", o.Address.String(), "CLIENT", o.Client.String(), "SECRET", o.Secret,
		"KEY", o.Key, "CERTIFICATE", o.Certificate, "AUTHORITY", o.Authority).Replace(configuration)
	if err := os.WriteFile(filepath.Join(dir, "radiusd.conf"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program, "-X", "-d", dir, "-D", "/usr/share/freeradius")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = cmd.Stdout
	if err := charon.In(o.Namespace)(cmd); err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	ready, done := make(chan bool, 1), make(chan struct{})
	go func() {
		defer close(done)
		for s := bufio.NewScanner(out); s.Scan(); {
			log.WriteString(s.Text() + "\n")
			if strings.Contains(s.Text(), "Ready to process requests") { // it says so after each request
				select {
				case ready <- true:
				default:
				}
			}
		}
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-done
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("FreeRADIUS said:\n%s", log.String()[max(0, log.Len()-6000):])
		}
	})
	select {
	case <-ready:
	case <-done:
		t.Fatalf("FreeRADIUS ended:\n%s", log.String())
	case <-time.After(patience):
		t.Fatal("FreeRADIUS does not become ready")
	}
}
