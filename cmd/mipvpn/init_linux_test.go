package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"mipvpn/client/config"
)

// On a real terminal the questions come one by one, answers are seen, and keys are not.
func TestInitOnATerminal(t *testing.T) {
	p := openPTY(t, 100, 40)
	in, errs := os.Stdin, os.Stderr
	os.Stdin, os.Stderr = p.terminal, p.terminal
	defer func() { os.Stdin, os.Stderr = in, errs }()
	before := p.modes(t)
	path := filepath.Join(t.TempDir(), "mipvpn.toml")
	var out bytes.Buffer
	code := make(chan int, 1)
	go func() {
		code <- run(t.Context(), []string{"init", "--config", path, "--no-external-home-agent", "--prefix", "10.0.0.0/16", "--internal-home-agent", "10.0.1.10", "--dns-domain", "corp.example", "--dns-server", "10.0.1.53", "--gateway", "gw.corp.example"},
			terminal{out: &out, err: p.terminal, prompt: terminalPrompt(), question: terminalQuestion()})
	}()
	for _, step := range []struct{ question, answer string }{
		{"home address there", "10.0.8.100"}, {"SPI of the key", "1001"}, {"the key, in hexadecimal digits", someKey}, {"identity of the laptop", "laptop@corp.example"}, {"identity of the gateway [gw.corp.example]", ""},
		{"how the laptop proves it", ""}, {"the pre-shared key", ""},
	} {
		p.shows(t, step.question)
		if secret := strings.Contains(step.question, "key"); secret && !strings.Contains(step.question, "SPI") {
			for deadline := time.Now().Add(time.Minute); p.modes(t).Lflag&unix.ECHO != 0; { // a person is slower than that
				if time.Now().After(deadline) {
					t.Fatal("the terminal goes on showing what is typed")
				}
				<-time.After(time.Millisecond)
			}
		}
		if _, err := p.keyboard.WriteString(step.answer + "\n"); err != nil {
			t.Fatal(err)
		}
	}
	if c := <-code; c != exitDone || !strings.Contains(out.String(), "is written and valid") {
		t.Errorf("exit %d, %s", c, &out)
	}
	if c, err := config.Load(path); err != nil || len(c.Internal.Key) != 16 || c.Internal.Key[1] != 1 || len(c.Gateway.PSK) != 16 {
		t.Errorf("%v", err)
	}
	if shown := p.screen.last(); !strings.Contains(shown, "10.0.8.100") || strings.Contains(shown, someKey) {
		t.Errorf("the terminal shows\n%s", shown)
	}
	if p.modes(t) != before {
		t.Error("the terminal has other modes than before")
	}
}
