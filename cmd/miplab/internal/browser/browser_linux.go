package browser

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"golang.org/x/net/websocket"
)

// program is Chromium's name.
const program = "chromium"

// patience is how long one answer of the browser may take.
const patience = time.Minute

// origin is that of the connection to the browser, which it is told to accept.
const origin = "http://127.0.0.1"

// Browser is a Chromium with one page.
type Browser struct {
	cmd     *exec.Cmd
	profile string
	conn    *websocket.Conn
	calls   int

	loaded     string // the loader of the latest document that has been loaded
	complaints []string
	requests   []string
}

// Available returns nil where Chromium is installed, and otherwise says what to install.
func Available() error {
	if _, err := exec.LookPath(program); err != nil {
		return fmt.Errorf("browser: no %s here; Debian has it in the package of that name: %w", program, err)
	}
	return nil
}

// Start starts a browser with an empty page.
func Start(ctx context.Context) (_ *Browser, err error) {
	b := &Browser{}
	if b.profile, err = os.MkdirTemp("", "browser"); err != nil {
		return nil, fmt.Errorf("browser: %w", err)
	}
	if err := b.start(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("browser: %w", err), b.Close())
	}
	return b, nil
}

func (b *Browser) start(ctx context.Context) error {
	cmd := exec.Command(program, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
		"--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-breakpad", "--disable-dev-shm-usage",
		"--hide-scrollbars", "--user-data-dir="+b.profile, "--remote-debugging-port=0", "--remote-allow-origins="+origin, "about:blank")
	cmd.Env = append(os.Environ(), "HOME="+b.profile, "TMPDIR="+b.profile, "XDG_CONFIG_HOME="+b.profile, "XDG_CACHE_HOME="+b.profile)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	said, err := cmd.StderrPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	b.cmd = cmd
	give := context.AfterFunc(ctx, func() { b.kill() })
	defer give()
	host, err := listening(said)
	if err != nil {
		return err
	}
	go io.Copy(io.Discard, said) // ends with the program
	page, err := newPage(ctx, host)
	if err != nil {
		return err
	}
	cfg, err := websocket.NewConfig(page, origin)
	if err != nil {
		return err
	}
	if b.conn, err = cfg.DialContext(ctx); err != nil {
		return err
	}
	for _, domain := range []string{"Page", "Runtime", "Log", "Network"} {
		if err := b.call(domain+".enable", nil, nil); err != nil {
			return err
		}
	}
	return b.call("Page.setLifecycleEventsEnabled", map[string]any{"enabled": true}, nil)
}

// listening reads what the program says until it tells where it listens, and returns host and port.
func listening(said io.Reader) (string, error) {
	const mark = "DevTools listening on ws://"
	all := ""
	for lines := bufio.NewScanner(said); lines.Scan(); {
		if _, where, ok := strings.Cut(lines.Text(), mark); ok {
			host, _, _ := strings.Cut(where, "/")
			return host, nil
		}
		all += "\n" + lines.Text()
	}
	return "", fmt.Errorf("%s ended without listening:%s", program, all)
}

// newPage opens a page and returns the URL by which it is driven.
func newPage(ctx context.Context, host string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	q, err := http.NewRequestWithContext(ctx, http.MethodPut, "http://"+host+"/json/new?about:blank", nil)
	if err != nil {
		return "", err
	}
	answer, err := http.DefaultClient.Do(q)
	if err != nil {
		return "", err
	}
	defer answer.Body.Close()
	var page struct {
		URL string `json:"webSocketDebuggerUrl"`
	}
	if err := json.NewDecoder(answer.Body).Decode(&page); err != nil {
		return "", fmt.Errorf("a new page: %s: %w", answer.Status, err)
	}
	return page.URL, nil
}

// kill ends the program and all that it has started.
func (b *Browser) kill() error { return syscall.Kill(-b.cmd.Process.Pid, syscall.SIGKILL) }

// Close ends the browser.
func (b *Browser) Close() error {
	var errs []error
	if b.conn != nil {
		errs = append(errs, b.conn.Close())
	}
	if b.cmd != nil {
		errs = append(errs, b.kill())
		b.cmd.Wait() // it was killed
	}
	// A process of it may still write for a moment.
	err := os.RemoveAll(b.profile)
	for i := 0; err != nil && i < 100; i++ {
		time.Sleep(50 * time.Millisecond)
		err = os.RemoveAll(b.profile)
	}
	return errors.Join(append(errs, err)...)
}
