package page

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"

	"mipvpn/cmd/miplab/internal/company"
	"mipvpn/cmd/miplab/internal/overhead"
	"mipvpn/cmd/miplab/internal/recording"
	"mipvpn/cmd/miplab/internal/scenario"
	"mipvpn/cmd/miplab/internal/simulated"
)

// tour records a tour of all eight modes on the simulated network, in virtual time.
func tour(t *testing.T) *recording.Recording {
	t.Helper()
	var r recording.Recording
	synctest.Test(t, func(t *testing.T) {
		var modes []string
		for _, c := range overhead.Compositions() {
			if !c.Switched {
				modes = append(modes, c.String())
			}
		}
		w, err := simulated.Start(1, company.Options{Optional: true}, zap.NewNop())
		if err != nil {
			t.Fatal(err)
		}
		s := scenario.Scenario{Steps: scenario.Through(modes), Dwell: time.Second, Patience: 30 * time.Second, Log: io.Discard}
		camera := recording.NewCamera(&r, recording.NewStage(w.Describe(), s.Steps), w.Tap)
		s.Observe = camera.Observe
		report, err := s.Run(t.Context(), w)
		camera.Close(report, err)
		if err := errors.Join(err, w.Close()); err != nil || !report.Passed {
			t.Fatal(err, report.Failures)
		}
	})
	return &r
}

func line(text string) recording.Moment {
	return recording.Moment{Moment: scenario.Moment{Kind: scenario.MomentLine, Text: text}}
}

func ending(text string) recording.Moment {
	return recording.Moment{Moment: scenario.Moment{Kind: recording.KindEnd, Text: text}}
}

// get asks a handler with headers in pairs.
func get(h http.Handler, method, path, host string, headers ...string) *httptest.ResponseRecorder {
	q := httptest.NewRequest(method, path, nil)
	q.Host = host
	for pair := range slices.Chunk(headers, 2) {
		q.Header.Set(pair[0], pair[1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, q)
	return w
}

// TestHandler shows which requests are answered and which are not: by the name of this machine alone, and nothing is changed by any.
func TestHandler(t *testing.T) {
	var r recording.Recording
	r.Add(line("one"))
	r.Add(ending(""))
	h := Handler(&r)
	for _, c := range []struct {
		method, path, host string
		want               int
	}{
		{"GET", "/", "127.0.0.1:8080", 200}, {"GET", "/", "localhost:8080", 200}, {"GET", "/", "LOCALHOST", 200}, {"GET", "/", "[::1]:80", 200},
		{"GET", "/page.css", "127.0.0.1", 200}, {"GET", "/page.js", "127.0.0.2", 200}, {"GET", "/events", "127.0.0.1", 200},
		{"GET", "/report.html", "127.0.0.1", 200}, {"HEAD", "/", "127.0.0.1", 200},
		{"GET", "/", "evil.example", 421}, {"GET", "/events", "127.0.0.1.evil.example:80", 421}, {"GET", "/", "192.0.2.1", 421},
		{"GET", "/report.html", "localhost.evil.example", 421}, {"GET", "/", "", 421}, {"GET", "/", "::ffff:192.0.2.1", 421},
		{"POST", "/", "127.0.0.1", 405}, {"GET", "/assets/page.html", "127.0.0.1", 404}, {"GET", "/no", "127.0.0.1", 404},
	} {
		w := get(h, c.method, c.path, c.host)
		if w.Code != c.want {
			t.Errorf("%s %s for %q: %d, want %d", c.method, c.path, c.host, w.Code, c.want)
		}
		if p := w.Header().Get("Content-Security-Policy"); !strings.HasPrefix(p, "default-src 'none'; script-src 'self';") || w.Header().Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s %s for %q: headers %v", c.method, c.path, c.host, w.Header())
		}
	}
}

// TestEvents shows that a reader gets each moment once, that one that comes back goes on where it was, and that one that was at another
// run begins anew.
func TestEvents(t *testing.T) {
	var r recording.Recording
	for i := range 4 {
		r.Add(line(fmt.Sprint("line ", i)))
	}
	server := httptest.NewServer(Handler(&r))
	defer server.Close()
	ids := regexp.MustCompile(`(?m)^id: (\S+)$`)
	follow := func(last string, moments int) (text string) {
		t.Helper()
		q, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL+"/events", nil)
		if err != nil {
			t.Fatal(err)
		}
		if last != "" {
			q.Header.Set("Last-Event-ID", last)
		}
		answer, err := server.Client().Do(q)
		if err != nil {
			t.Fatal(err)
		}
		defer answer.Body.Close()
		if kind := answer.Header.Get("Content-Type"); kind != "text/event-stream" {
			t.Errorf("events are %s", kind)
		}
		lines := bufio.NewScanner(answer.Body)
		for n := 0; n < moments && lines.Scan(); {
			text += lines.Text() + "\n"
			if strings.HasPrefix(lines.Text(), "data: ") {
				n++
			}
		}
		return text
	}
	first := follow("", 4)
	got := ids.FindAllStringSubmatch(first, -1)
	if len(got) != 4 || !strings.HasSuffix(got[3][1], ".4") || !strings.HasPrefix(first, "retry: ") {
		t.Fatalf("the events are\n%s", first)
	}
	r.Add(ending("the last"))
	rest := follow(got[1][1], 3)
	if strings.Contains(rest, "line 1") || !strings.Contains(rest, "line 2") || !strings.Contains(rest, "the last") {
		t.Errorf("behind the second event there are\n%s", rest)
	}
	for _, last := range []string{"another.3", "3", "another", got[0][1][:len(got[0][1])-1] + "x"} {
		if again := follow(last, 5); !strings.Contains(again, "line 0") {
			t.Errorf("behind the event %q there are\n%s", last, again)
		}
	}
}

// TestTooManyReaders shows that pages that follow are limited in number, and that one that goes makes room.
func TestTooManyReaders(t *testing.T) {
	var r recording.Recording
	r.Add(line("one"))
	server := httptest.NewServer(Handler(&r))
	defer server.Close()
	var open []*http.Response
	for range maxReaders {
		answer, err := server.Client().Get(server.URL + "/events")
		if err != nil || answer.StatusCode != http.StatusOK {
			t.Fatal(err)
		}
		open = append(open, answer)
	}
	answer, err := server.Client().Get(server.URL + "/events")
	if err != nil || answer.StatusCode != http.StatusServiceUnavailable {
		t.Fatalf("one reader more than there may be: %v, %v", answer, err)
	}
	answer.Body.Close()
	r.Add(ending(""))
	for _, o := range open {
		if b, err := io.ReadAll(o.Body); err != nil || !bytes.Contains(b, []byte(`"kind":"end"`)) {
			t.Errorf("a reader got %q, %v", b, err)
		}
		o.Body.Close()
	}
}

// TestReport shows that the report is one file: what runs in it is named by its hash, and no text of a moment ends the element that
// it stands in.
func TestReport(t *testing.T) {
	var r recording.Recording
	r.Add(line("</script><script>alert(1)</script><!-- <b>"))
	var b bytes.Buffer
	if err := WriteReport(&b, &r); err != nil {
		t.Fatal(err)
	}
	text := b.String()
	if strings.Contains(text, "alert(1)</script>") || strings.Count(text, "</script>") != 2 || strings.Contains(text, headMark) || strings.Contains(text, dataMark) {
		t.Errorf("the report is\n%s", text)
	}
	for _, want := range []string{"script-src " + source(script), "style-src " + source(style), "connect-src 'none'"} {
		if !strings.Contains(text, want) {
			t.Errorf("the policy in the report does not say %s", want)
		}
	}
	if away := regexp.MustCompile(`(?i)(src|href)="?(https?:)?//`).FindString(text); away != "" {
		t.Errorf("the report refers to another place: %s", away)
	}
	if err := WriteReport(failing{}, &r); !errors.Is(err, io.ErrShortWrite) {
		t.Errorf("a report that cannot be written is written with %v", err)
	}
}

type failing struct{}

func (failing) Write([]byte) (int, error) { return 0, io.ErrShortWrite }
