package charon

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Where Debian and Ubuntu install the programs.
const (
	daemonPath  = "/usr/lib/ipsec/charon"
	swanctlPath = "/usr/sbin/swanctl"
)

// pluginPaths are plugins that a gateway with the configuration of configs/strongswan cannot do without.
var pluginPaths = []string{
	"/usr/lib/ipsec/plugins/libstrongswan-kernel-libipsec.so",
	"/usr/lib/ipsec/plugins/libstrongswan-vici.so",
	"/usr/lib/ipsec/plugins/libstrongswan-openssl.so",
}

// Packages are the Debian packages that Start needs.
var Packages = []string{"strongswan-charon", "strongswan-swanctl", "libstrongswan-standard-plugins",
	"libstrongswan-extra-plugins", "libcharon-extra-plugins", "libcharon-extauth-plugins"}

// ErrNotInstalled tells that charon, swanctl or a plugin is not there. The error says which packages to install.
var ErrNotInstalled = errors.New("charon: strongSwan is not installed")

// patience is how long charon may take to start and to end.
const patience = 15 * time.Second

// Available returns nil when everything that Start needs is installed, otherwise an error that wraps ErrNotInstalled.
func Available() error {
	for _, path := range append([]string{daemonPath, swanctlPath}, pluginPaths...) {
		if _, err := os.Stat(path); err != nil {
			return fmt.Errorf("%w: %w: install %s", ErrNotInstalled, err, strings.Join(Packages, " "))
		}
	}
	return nil
}

// Secret is a pre-shared key between the gateway and one client.
type Secret struct {
	// Name tells secrets apart; letters, digits and hyphens.
	Name string
	// Owners are the IKE identities that share the key, such as laptop@corp.example.
	Owners []string
	Key    []byte
}

// Options say what charon is started with.
type Options struct {
	// Configuration is the folder with strongswan.conf and swanctl.conf.
	Configuration string
	// Extra is more of swanctl.conf, and ExtraDaemon more of strongswan.conf; what they set wins. Empty for none.
	Extra, ExtraDaemon string
	// Bare leaves out swanctl.conf and Secrets: connections and credentials are loaded with Daemon.Call.
	Bare bool
	// Secrets are the pre-shared keys.
	Secrets []Secret
	// Root is the folder of another installation of strongSwan (package debian), empty for the machine's own. The programs
	// are run in it as their file system.
	Root string
	// Dir is an empty folder for copies of the configuration, the control socket and the log.
	Dir string
	// Launch starts the command in the network namespace that charon is to live in. With nil it is the caller's. charon
	// needs CAP_NET_ADMIN and CAP_SYS_ADMIN there, and /dev/net/tun.
	Launch func(*exec.Cmd) error
}

// Daemon is a running charon.
type Daemon struct {
	dir    string
	root   string
	launch func(*exec.Cmd) error
	cmd    *exec.Cmd
	done   chan struct{}
	err    error // of Wait; read after done
}

// Start starts charon, waits until it listens on its control socket, and loads secrets, pools and connections. Errors:
// ErrNotInstalled; what the operating system says; what swanctl says, with the end of charon's log.
func Start(o Options) (*Daemon, error) {
	if o.Root == "" {
		if err := Available(); err != nil {
			return nil, err
		}
	}
	if err := o.write(); err != nil {
		return nil, fmt.Errorf("charon: %w", err)
	}
	d := &Daemon{dir: o.Dir, root: o.Root, launch: o.Launch, done: make(chan struct{})}
	if d.launch == nil {
		d.launch = func(c *exec.Cmd) error { return c.Start() }
	}
	log, err := os.Create(d.LogPath())
	if err != nil {
		return nil, fmt.Errorf("charon: %w", err)
	}
	defer log.Close()
	d.cmd = d.command(daemonPath)
	d.cmd.Stdout, d.cmd.Stderr = log, log
	if err := d.launch(d.cmd); err != nil {
		return nil, fmt.Errorf("charon: starting %s: %w", daemonPath, err)
	}
	go func() {
		d.err = d.cmd.Wait()
		close(d.done)
	}()
	err = d.listens()
	if err == nil && !o.Bare {
		_, err = d.Swanctl("--load-all", "--noprompt")
	}
	if err != nil {
		return nil, errors.Join(err, d.Stop())
	}
	return d, nil
}

// swanctlFolders are those that swanctl complains about when they are missing.
var swanctlFolders = []string{"swanctl/conf.d", "swanctl/x509", "swanctl/x509ca", "swanctl/x509ocsp", "swanctl/x509aa",
	"swanctl/x509ac", "swanctl/x509crl", "swanctl/pubkey", "swanctl/private", "swanctl/rsa", "swanctl/ecdsa", "swanctl/bliss",
	"swanctl/pkcs8", "swanctl/pkcs12"}

// logging is put behind strongswan.conf so that messages go to the log of Dir as they come.
const logging = `
charon {
	filelog {
		stderr {
			default = 1
			ike = 2
			esp = 1
			flush_line = yes
			time_format = %H:%M:%S
		}
	}
}
`

// write lays out Dir: run becomes /run, swanctl becomes /etc/swanctl, strongswan.conf becomes /etc/strongswan.conf.
func (o Options) write() error {
	for _, dir := range append([]string{"run", "swanctl"}, swanctlFolders...) {
		if err := os.Mkdir(filepath.Join(o.Dir, dir), 0o700); err != nil {
			return err
		}
	}
	files := map[string]string{"strongswan.conf": "strongswan.conf", "swanctl.conf": "swanctl/swanctl.conf"}
	if o.Bare {
		delete(files, "swanctl.conf")
	}
	for from, to := range files {
		text, err := os.ReadFile(filepath.Join(o.Configuration, from))
		if err != nil {
			return err
		}
		if to == "strongswan.conf" {
			text = append(append(text, logging...), o.ExtraDaemon...)
		}
		if err := os.WriteFile(filepath.Join(o.Dir, to), text, 0o600); err != nil {
			return err
		}
	}
	secrets := "secrets {\n"
	for _, s := range o.Secrets {
		secrets += fmt.Sprintf("\tike-%s {\n\t\tsecret = 0x%x\n", s.Name, s.Key)
		for i, id := range s.Owners {
			secrets += fmt.Sprintf("\t\tid-%d = %s\n", i, strconv.Quote(id))
		}
		secrets += "\t}\n"
	}
	if err := os.WriteFile(filepath.Join(o.Dir, "swanctl/conf.d/secrets.conf"), []byte(secrets+"}\n"), 0o600); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(o.Dir, "swanctl/conf.d/zz-extra.conf"), []byte(o.Extra), 0o600)
}

// view is the shell script that shows the command, its arguments after two folders, the private /run and /etc, and another
// root where there is one. The mounts are in the command's own mount namespace.
const view = `set -e
dir=$1; root=$2; shift 2
if [ -n "$root" ]; then
	mkdir -p "$root/etc/swanctl"
	[ -e "$root/etc/strongswan.conf" ] || : > "$root/etc/strongswan.conf"
	mount --rbind /dev "$root/dev"
	mount --rbind /proc "$root/proc"
fi
mount --bind "$dir/run" "$root/run"
mount --bind "$dir/swanctl" "$root/etc/swanctl"
mount --bind "$dir/strongswan.conf" "$root/etc/strongswan.conf"
if [ -n "$root" ]; then
	exec chroot "$root" "$@"
fi
exec "$@"`

// command returns a command that sees charon's files. The kernel gives it a mount namespace of its own.
func (d *Daemon) command(args ...string) *exec.Cmd {
	cmd := exec.Command("/bin/sh", append([]string{"-c", view, "charon", d.dir, d.root}, args...)...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS, Setpgid: true}
	return cmd
}

// listens waits until charon listens.
func (d *Daemon) listens() error {
	deadline := time.Now().Add(patience)
	for {
		if _, err := os.Stat(filepath.Join(d.dir, "run", controlSocket)); err == nil {
			if _, _, err := d.Call("version", "", nil); err == nil {
				return nil
			}
		}
		select {
		case <-d.done:
			return fmt.Errorf("charon: it has ended: %w\n%s", d.err, d.Tail(20))
		case <-time.After(10 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("charon: no control socket within %v\n%s", patience, d.Tail(20))
		}
	}
}

// Swanctl runs swanctl with the arguments, such as "--list-sas", and returns what it prints.
func (d *Daemon) Swanctl(args ...string) (string, error) {
	var out bytes.Buffer
	cmd := d.command(append([]string{swanctlPath}, args...)...)
	cmd.Stdout, cmd.Stderr = &out, &out
	err := d.launch(cmd)
	if err == nil {
		err = cmd.Wait()
	}
	if err != nil {
		return out.String(), fmt.Errorf("charon: swanctl %s: %w: %s", strings.Join(args, " "), err, strings.TrimSpace(out.String()))
	}
	return out.String(), nil
}

// LogPath returns the file that charon's messages go to.
func (d *Daemon) LogPath() string { return filepath.Join(d.dir, "charon.log") }

// Tail returns the last lines of the log.
func (d *Daemon) Tail(lines int) string {
	text, err := os.ReadFile(d.LogPath())
	if err != nil {
		return err.Error()
	}
	all := strings.Split(strings.TrimRight(string(text), "\n"), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}

// Done is closed when charon has ended.
func (d *Daemon) Done() <-chan struct{} { return d.done }

// Stop ends charon, which deletes its SAs first, and waits for it. When it does not end it is killed, which is an error.
func (d *Daemon) Stop() error {
	if err := d.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("charon: %w", err)
	}
	select {
	case <-d.done:
		return nil
	case <-time.After(patience):
	}
	if err := d.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("charon: %w", err)
	}
	<-d.done
	return fmt.Errorf("charon: it did not end within %v of being asked and was killed", patience)
}

// Kill ends charon at once, without a word to its peers, and waits for it.
func (d *Daemon) Kill() error {
	if err := d.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("charon: %w", err)
	}
	<-d.done
	return nil
}
