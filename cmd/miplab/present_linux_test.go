package main

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"mipvpn/cmd/miplab/internal/browser"
	"mipvpn/cmd/miplab/internal/recording"
)

// TestDemoWeb follows a tour on the page while it goes, in namespaces where they can be made, and after it has ended; then miplab is
// told to end.
// Shows: MOD-c, MOD-cvc, MOD-keep (as a person sees it in a browser)
func TestDemoWeb(t *testing.T) {
	t.Parallel()
	args := []string{"demo", "--web", "--json", "--dwell", "300ms", "--modes", "c,cvc", "--period", "0s"}
	if able() != nil {
		args = append(args, "--simulated")
	}
	cmd := miplab(t, args...)
	var out bytes.Buffer
	cmd.Stdout = &out
	said, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	urls := make(chan string, 1)
	stays := make(chan struct{})
	go func() {
		url := regexp.MustCompile(`^The page is (http://127\.0\.0\.1:\d+/)$`)
		for lines := bufio.NewScanner(said); lines.Scan(); {
			if m := url.FindStringSubmatch(lines.Text()); m != nil {
				urls <- m[1]
			}
			if strings.HasPrefix(lines.Text(), "The page stays at ") {
				close(stays)
			}
		}
		io.Copy(io.Discard, said)
		ended <- cmd.Wait()
	}()
	var url string
	select {
	case url = <-urls:
	case err := <-ended:
		t.Fatalf("miplab ended with %v before it had a page", err)
	}
	q, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	q.Host = "evil.example"
	if answer, err := http.DefaultClient.Do(q); err != nil || answer.StatusCode != http.StatusMisdirectedRequest {
		t.Errorf("a request for another name: %v, %v", answer, err)
	} else {
		answer.Body.Close()
	}
	look := browser.Available() == nil
	if look {
		watch(t, url)
	}
	<-stays
	answer, err := http.Get(url + "report.html")
	if err != nil {
		t.Fatal(err)
	}
	file, err := io.ReadAll(answer.Body)
	answer.Body.Close()
	if err != nil || len(recorded(t, file)) < 50 {
		t.Errorf("the report has %d octets, %v", len(file), err)
	}
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Error(err)
	}
	if err := <-ended; err != nil {
		t.Errorf("miplab ended with %v", err)
	}
	if !strings.Contains(out.String(), `"passed": true`) {
		t.Errorf("the report is\n%s", out.String())
	}
	if !look {
		t.Skip(browser.Available())
	}
}

// screenshots is the variable with the directory where pictures are kept.
const screenshots = "MIPVPN_SCREENSHOTS"

// watch follows the page to the end of the run.
func watch(t *testing.T, url string) {
	t.Helper()
	b, err := browser.Start(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	if err := b.Open(url); err != nil {
		t.Fatal(err)
	}
	for _, e := range []string{
		`document.getElementById("map-text").textContent.includes(" is in ")`,
		`document.getElementById("verdict").className === "passed"`,
		`document.querySelectorAll("#changes tbody tr").length === 6`,
	} {
		if err := b.Await(e); err != nil {
			t.Fatal(err)
		}
	}
	// Where one was on the way, as it is still to be seen.
	for row, want := range []string{"c", "cvc"} {
		var mode string
		err := b.Evaluate(`document.querySelectorAll("#changes tbody button")[`+string(rune('0'+row))+`].click()`, nil)
		if err == nil {
			err = b.Await(`document.querySelectorAll("#changes tbody tr")[` + string(rune('0'+row)) + `].className === "now"`)
		}
		if err == nil {
			err = b.Evaluate(`document.querySelector("#modes [aria-current]").dataset.mode`, &mode)
		}
		if err != nil || mode != want {
			t.Errorf("at the end of step %d the page shows mode %q, want %q, %v", row, mode, want, err)
		}
	}
	if c := b.Complaints(); len(c) > 0 {
		t.Errorf("the page complains: %q", c)
	}
	dir := cmp.Or(os.Getenv(screenshots), t.TempDir())
	if err := errors.Join(os.MkdirAll(dir, 0o755), b.View(1120, 1960, false), b.Picture(filepath.Join(dir, "demo-web.png"))); err != nil {
		t.Error(err)
	}
}

// recorded returns the moments in a report.
func recorded(t *testing.T, report []byte) (moments []recording.Moment) {
	t.Helper()
	m := regexp.MustCompile(`(?s)<script type="application/json" id="recording">(.*?)</script>`).FindSubmatch(report)
	if m == nil {
		t.Fatalf("no recording is in\n%.2000s", report)
	}
	if err := json.Unmarshal(m[1], &moments); err != nil {
		t.Fatal(err)
	}
	return moments
}

// TestReportCommand writes the report of a tour on the simulated network, and shows that a directory that cannot be written is told
// before the tour.
func TestReportCommand(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "report.html")
	if out, err := miplab(t, "report", "--simulated", "--modes", "c", "--dwell", "100ms", "-o", file).CombinedOutput(); err != nil || !strings.Contains(string(out), "The report is in "+file) {
		t.Fatalf("%v\n%s", err, out)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	moments := recorded(t, text)
	last := moments[len(moments)-1]
	if moments[0].Kind != recording.KindStage || last.Kind != recording.KindEnd || last.Report == nil || !last.Report.Passed {
		t.Errorf("the report begins with %+v and ends with %+v", moments[0], last)
	}
	if entries, err := os.ReadDir(filepath.Dir(file)); err != nil || len(entries) != 1 {
		t.Errorf("beside the report there are %v, %v", entries, err)
	}
	out, err := miplab(t, "report", "--simulated", "-o", filepath.Join(file, "no", "report.html")).CombinedOutput()
	if _, ok := err.(*exec.ExitError); !ok || strings.Contains(string(out), "==") || !strings.Contains(string(out), "the report: ") {
		t.Errorf("a report that cannot be written: %v\n%s", err, out)
	}
}
