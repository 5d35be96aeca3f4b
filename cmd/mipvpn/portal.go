package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"mipvpn/client/control"
)

// portalBrowserCommand is what this program starts itself as, to become the browser.
const portalBrowserCommand = "portal-browser"

func (a *app) portal() *cobra.Command {
	c := &cobra.Command{
		Use: "portal", Short: "Log in at a captive portal, in a browser that reaches nothing else", Args: cobra.NoArgs,
		Long: "Open the way to the captive portal that keeps an interface from the Internet, for one browser with an empty profile,\n" +
			"which reaches that network's name servers, the portal's addresses and nothing else, never the enterprise. The way\n" +
			"closes, and the browser ends, when the portal is passed, when the time is up or when the command is interrupted. Run\n" +
			"it as the user whose screen it is: no browser is started as root. Browsers that are snaps cannot be confined.",
	}
	iface := c.Flags().String("interface", "", "interface of the portal, where several have one")
	browser := c.Flags().String("browser", "", "browser to start, a program's name or path (default: as configured, or the first that is known)")
	timeout := c.Flags().Duration("timeout", 0, "longest time that the way stays open, such as 10m (default: as configured)")
	c.RunE = func(cmd *cobra.Command, _ []string) error {
		if *timeout < 0 || *timeout > control.MaxPortal {
			return fmt.Errorf("--timeout %v is not between 0 and %v", *timeout, control.MaxPortal)
		}
		if os.Geteuid() == 0 {
			return &exitError{exitPermission, errors.New("no browser is started as root: run `mipvpn portal` as the user whose screen it is, whom control.users of the configuration must name")}
		}
		return a.passPortal(cmd.Context(), *iface, *browser, *timeout)
	}
	return c
}

// passPortal opens the way, starts the browser and waits until either ends.
func (a *app) passPortal(ctx context.Context, iface, browser string, timeout time.Duration) error {
	dir, err := os.MkdirTemp("", "mipvpn-portal-")
	if err != nil {
		return failed(err)
	}
	defer os.RemoveAll(dir)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ended := make(chan error, 1)
	var b *browserProcess
	var last control.PortalWay
	err = a.ask(ctx, func(c *control.Client) (err error) {
		last, err = c.Portal(ctx, iface, timeout, func(w control.PortalWay) error {
			program, err := chooseBrowser(browser, w.Browser)
			if err != nil {
				return err
			}
			if b, err = a.startBrowser(program, w.URL, dir); err != nil {
				return err
			}
			go func() {
				ended <- b.Wait()
				cancel()
			}()
			_, err = fmt.Fprintf(a.out, "%s opens %s through %s, for %v at most (confined by %s, %s)\n", program, printable(w.URL), printable(w.Interface),
				time.Duration(w.ExpiresIn*float64(time.Second)).Round(time.Second), printable(w.Confinement), b.names)
			return err
		})
		return err
	})
	if b != nil {
		b.kill()                                                             // unless it has ended, or the daemon has killed it
		if over := <-ended; err != nil && errors.Is(err, context.Canceled) { // the browser has ended, or a person has had enough
			if over != nil {
				return failed(fmt.Errorf("the browser has ended (%w): the way to the portal is closed", over))
			}
			_, err = fmt.Fprintln(a.out, "the browser has ended: the way to the portal is closed")
			return failed(err)
		}
	}
	switch {
	case err != nil:
		return failed(err)
	case !last.Passed:
		return failed(fmt.Errorf("the way to the portal is closed: %s", last.Closed))
	}
	_, err = fmt.Fprintf(a.out, "the portal is passed: %s\n", printable(last.Closed))
	return failed(err)
}

// knownBrowsers are what is looked for, in this order.
var knownBrowsers = []string{
	"chromium", "chromium-browser", "google-chrome-stable", "google-chrome", "brave-browser", "firefox", "firefox-esr", "epiphany", "epiphany-browser",
}

// errNoBrowser is returned where no browser can be started.
var errNoBrowser = errors.New("no browser was found")

// chooseBrowser returns the path of the browser that was asked for, or else is configured, or else the first that is known.
func chooseBrowser(asked, configured string) (string, error) {
	for _, name := range []string{asked, configured} {
		if name == "" {
			continue
		}
		path, err := exec.LookPath(name)
		if err != nil {
			return "", fmt.Errorf("%w: %w", errNoBrowser, err)
		}
		if isSnap(path) {
			return "", fmt.Errorf("%w: %s is a snap, which leaves its control group and so cannot be confined; install another", errNoBrowser, path)
		}
		return path, nil
	}
	for _, name := range knownBrowsers {
		if path, err := exec.LookPath(name); err == nil && !isSnap(path) {
			return path, nil
		}
	}
	return "", fmt.Errorf("%w: none of %s is there, snaps aside; name one with --browser", errNoBrowser, strings.Join(knownBrowsers, ", "))
}

// isSnap reports whether the program is started through snap: by its place, as a link to snap, or as a script.
func isSnap(path string) bool {
	real, err := filepath.EvalSymlinks(path)
	if err != nil {
		real = path
	}
	for _, p := range []string{path, real} {
		if strings.HasPrefix(p, "/snap/") || filepath.Base(p) == "snap" {
			return true
		}
	}
	f, err := os.Open(real)
	if err != nil {
		return false
	}
	defer f.Close()
	head := make([]byte, 4096)
	n, _ := f.Read(head)
	text := string(head[:n])
	return strings.HasPrefix(text, "#!") && strings.Contains(text, "/snap/bin/")
}

// browserArguments returns how the browser is told to open the URL with an empty profile in dir, to ask no name servers of its
// own choice, and to leave a browser that runs already alone. One that is not known gets the URL alone; its profile is empty
// because its home directory is.
func browserArguments(program, url, dir string) []string {
	switch name := filepath.Base(program); {
	case strings.Contains(name, "chrom"), strings.HasPrefix(name, "brave"):
		return []string{
			"--user-data-dir=" + filepath.Join(dir, "profile"), "--no-first-run", "--no-default-browser-check", "--disable-background-networking",
			"--disable-sync", "--disable-quic", "--disable-features=DnsOverHttps,AsyncDns", "--password-store=basic", "--new-window", url,
		}
	case strings.HasPrefix(name, "firefox"):
		return []string{"--no-remote", "--new-instance", "--profile", filepath.Join(dir, "profile"), url}
	case strings.HasPrefix(name, "epiphany"):
		return []string{"--profile=" + filepath.Join(dir, "profile"), "--new-window", url}
	}
	return []string{url}
}

// firefoxSettings are the settings of an empty profile of Firefox: no DNS over HTTPS, no look-out of its own for portals, no
// pages of welcome.
const firefoxSettings = `user_pref("network.trr.mode", 5);
user_pref("network.captive-portal-service.enabled", false);
user_pref("network.connectivity-service.enabled", false);
user_pref("network.dns.disableIPv6", true);
user_pref("browser.aboutwelcome.enabled", false);
user_pref("datareporting.policy.dataSubmissionEnabled", false);
user_pref("browser.shell.checkDefaultBrowser", false);
`

// browserFiles writes what the browser finds in place of the host's own files, and its profile.
func browserFiles(dir string) error {
	if err := os.Mkdir(filepath.Join(dir, "profile"), 0o700); err != nil {
		return err
	}
	for name, text := range map[string]string{
		"profile/user.js": firefoxSettings,
		"resolv.conf":     "# mipvpn portal: queries go to the daemon, and from there to the name servers of the portal's network.\nnameserver 127.0.0.1\n",
		"nsswitch.conf":   "passwd: files\ngroup: files\nhosts: files dns\nnetworks: files\nprotocols: files\nservices: files\n",
		"nothing":         "",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			return err
		}
	}
	return nil
}

// browserEnvironment returns the environment of the browser: the person's, with the directory as home, and with what leads to
// the screen.
func browserEnvironment(environ []string, home, dir string) []string {
	var env []string
	authority := false
	for _, v := range environ {
		name, _, _ := strings.Cut(v, "=")
		switch {
		case name == "HOME", strings.HasPrefix(name, "XDG_") && strings.HasSuffix(name, "_HOME"), strings.HasSuffix(strings.ToLower(name), "_proxy"):
			continue
		case name == "XAUTHORITY":
			authority = true
		}
		env = append(env, v)
	}
	if file := filepath.Join(home, ".Xauthority"); !authority && home != "" {
		if _, err := os.Stat(file); err == nil {
			env = append(env, "XAUTHORITY="+file)
		}
	}
	return append(env, "HOME="+dir)
}
