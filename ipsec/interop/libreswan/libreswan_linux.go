package libreswan

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// Where the programs are in Options.Root.
const (
	plutoPath    = "/usr/libexec/ipsec/pluto"
	addconnPath  = "/usr/libexec/ipsec/addconn"
	whackPath    = "/usr/libexec/ipsec/whack"
	certutilPath = "/usr/bin/certutil"
)

// patience is how long pluto may take to start and to end.
const patience = 15 * time.Second

// Options say what pluto is started with.
type Options struct {
	// Root is a folder with Libreswan and certutil (package debian).
	Root string
	// Configuration is ipsec.conf, Secrets ipsec.secrets.
	Configuration, Secrets string
	// Dir is an empty folder for the configuration, the control socket and the log.
	Dir string
	// Launch starts the command in the network namespace that pluto is to live in. It needs CAP_NET_ADMIN and CAP_SYS_ADMIN.
	Launch func(*exec.Cmd) error
}

// Daemon is a running pluto.
type Daemon struct {
	o    Options
	cmd  *exec.Cmd
	done chan struct{}
	err  error // of Wait; read after done
}

// Start starts pluto, waits until it answers, and loads secrets and connections. Errors: what the operating system says; what
// Libreswan's programs say, with the end of the log.
func Start(o Options) (*Daemon, error) {
	d := &Daemon{o: o, done: make(chan struct{})}
	for _, dir := range []string{"run/pluto", "nss"} {
		if err := os.MkdirAll(filepath.Join(o.Dir, dir), 0o700); err != nil {
			return nil, fmt.Errorf("libreswan: %w", err)
		}
	}
	for name, text := range map[string]string{"ipsec.conf": o.Configuration, "ipsec.secrets": o.Secrets, "resolv.conf": "", "hosts": ""} {
		if err := os.WriteFile(filepath.Join(o.Dir, name), []byte(text), 0o600); err != nil {
			return nil, fmt.Errorf("libreswan: %w", err)
		}
	}
	if _, err := d.run(certutilPath, "-N", "-d", "sql:/var/lib/ipsec/nss", "--empty-password"); err != nil {
		return nil, err
	}
	log, err := os.Create(d.LogPath())
	if err != nil {
		return nil, fmt.Errorf("libreswan: %w", err)
	}
	defer log.Close()
	d.cmd = d.command(plutoPath, "--config", "/etc/ipsec.conf", "--nofork", "--stderrlog")
	d.cmd.Stdout, d.cmd.Stderr = log, log
	if err := o.Launch(d.cmd); err != nil {
		return nil, fmt.Errorf("libreswan: starting %s: %w", plutoPath, err)
	}
	go func() {
		d.err = d.cmd.Wait()
		close(d.done)
	}()
	if err := d.load(); err != nil {
		return nil, errors.Join(err, d.Stop())
	}
	return d, nil
}

// load waits until pluto listens, then loads connections. It listens when it has its interfaces.
func (d *Daemon) load() error {
	deadline := time.Now().Add(patience)
	for {
		if out, err := d.Whack("--status"); err == nil && strings.Contains(out, "interface") {
			break
		}
		select {
		case <-d.done:
			return fmt.Errorf("libreswan: pluto has ended: %w\n%s", d.err, d.Log())
		case <-time.After(20 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("libreswan: pluto does not answer within %v\n%s", patience, d.Log())
		}
	}
	_, err := d.run(addconnPath, "--config", "/etc/ipsec.conf", "--autoall")
	return err
}

// view is the shell script that shows the command, its arguments after two folders, the files. The mounts are in the command's
// own mount namespace.
const view = `set -e
dir=$1; root=$2; shift 2
mkdir -p "$root/var/lib/ipsec/nss"
for f in ipsec.conf ipsec.secrets resolv.conf hosts; do
	[ -e "$root/etc/$f" ] || : > "$root/etc/$f"
	mount --bind "$dir/$f" "$root/etc/$f"
done
mount --rbind /dev "$root/dev"
mount --rbind /proc "$root/proc"
mount --bind "$dir/run" "$root/run"
mount --bind "$dir/nss" "$root/var/lib/ipsec/nss"
exec chroot "$root" "$@"`

func (d *Daemon) command(args ...string) *exec.Cmd {
	cmd := exec.Command("/bin/sh", append([]string{"-c", view, "libreswan", d.o.Dir, d.o.Root}, args...)...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS, Setpgid: true}
	return cmd
}

func (d *Daemon) run(args ...string) (string, error) {
	var out bytes.Buffer
	cmd := d.command(args...)
	cmd.Stdout, cmd.Stderr = &out, &out
	err := d.o.Launch(cmd)
	if err == nil {
		err = cmd.Wait()
	}
	if err != nil {
		return out.String(), fmt.Errorf("libreswan: %s: %w: %s", strings.Join(args, " "), err, strings.TrimSpace(out.String()))
	}
	return out.String(), nil
}

// Whack gives pluto a command and returns what is printed, such as Whack("--trafficstatus").
func (d *Daemon) Whack(args ...string) (string, error) {
	return d.run(append([]string{whackPath}, args...)...)
}

// LogPath returns the file that pluto's messages go to.
func (d *Daemon) LogPath() string { return filepath.Join(d.o.Dir, "pluto.log") }

// Log returns pluto's messages.
func (d *Daemon) Log() string {
	text, err := os.ReadFile(d.LogPath())
	if err != nil {
		return err.Error()
	}
	return strings.TrimSpace(string(text))
}

// Stop ends pluto and waits for it. When it does not end it is killed, which is an error.
func (d *Daemon) Stop() error {
	if err := d.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("libreswan: %w", err)
	}
	select {
	case <-d.done:
		return nil
	case <-time.After(patience):
	}
	if err := d.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("libreswan: %w", err)
	}
	<-d.done
	return fmt.Errorf("libreswan: pluto did not end within %v of being asked and was killed", patience)
}
