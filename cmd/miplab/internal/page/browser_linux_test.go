package page

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"mipvpn/client/control"
	"mipvpn/cmd/miplab/internal/browser"
	"mipvpn/cmd/miplab/internal/overhead"
	"mipvpn/cmd/miplab/internal/recording"
	"mipvpn/cmd/miplab/internal/scenario"
)

// screenshots is the variable with the directory where pictures are kept.
const screenshots = "MIPVPN_SCREENSHOTS"

// start starts a browser for the test.
func start(t *testing.T) *browser.Browser {
	t.Helper()
	if err := browser.Available(); err != nil {
		t.Skip(err)
	}
	b, err := browser.Start(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	})
	must(t, b.View(1180, 1000, false))
	return b
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// evaluate returns the value of an expression in the page.
func evaluate[V any](t *testing.T, b *browser.Browser, expression string) (v V) {
	t.Helper()
	must(t, b.Evaluate(expression, &v))
	return v
}

// content is an element's text.
func content(t *testing.T, b *browser.Browser, id string) string {
	t.Helper()
	return evaluate[string](t, b, fmt.Sprintf("document.getElementById(%q).textContent", id))
}

// picture keeps a picture where that is asked for.
func picture(t *testing.T, b *browser.Browser, name string) {
	t.Helper()
	dir := os.Getenv(screenshots)
	if dir == "" {
		dir = t.TempDir()
	}
	must(t, os.MkdirAll(dir, 0o755))
	file := filepath.Join(dir, name+".png")
	must(t, b.Picture(file))
	if f, err := os.Stat(file); err != nil || f.Size() < 10_000 {
		t.Errorf("the picture %s: %v, %v", name, f, err)
	}
}

// quiet shows that the page has complained about nothing and has asked for nothing but what is given.
func quiet(t *testing.T, b *browser.Browser, from string) {
	t.Helper()
	complaints := slices.DeleteFunc(b.Complaints(), func(c string) bool {
		return strings.Contains(c, "ERR_INCOMPLETE_CHUNKED_ENCODING") && strings.HasSuffix(c, "/events") // the break
	})
	if len(complaints) > 0 {
		t.Errorf("the page complains: %q", complaints)
	}
	requests := slices.DeleteFunc(b.Requests(), func(u string) bool {
		return strings.HasPrefix(u, from) || strings.HasPrefix(u, "about:") || strings.HasPrefix(u, "data:,")
	})
	if len(requests) > 0 {
		t.Errorf("the page asks for %q", requests)
	}
}

// written writes the report of a recording and returns its URL.
func written(t *testing.T, r *recording.Recording) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "report.html")
	file, err := os.Create(name)
	must(t, err)
	must(t, WriteReport(file, r))
	must(t, file.Close())
	return "file://" + name
}

// all returns the moments of a recording.
func all(t *testing.T, r *recording.Recording) []recording.Moment {
	t.Helper()
	texts, _, _ := r.From(0)
	moments := make([]recording.Moment, len(texts))
	for i, text := range texts {
		must(t, json.Unmarshal(text, &moments[i]))
	}
	return moments
}

// shown waits until the page shows the time, in seconds.
func shown(t *testing.T, b *browser.Browser, at float64) {
	t.Helper()
	must(t, b.Await(fmt.Sprintf(`document.getElementById("clock").textContent.startsWith("%.1f of")`, at)))
}

// TestInBrowser shows that the page works in a browser: as a report, live, and of a run that came to nothing.
func TestInBrowser(t *testing.T) {
	b := start(t)
	t.Run("noticed", func(t *testing.T) { noticed(t, b) })
	t.Run("live", func(t *testing.T) { live(t, b) })
	t.Run("nothing", func(t *testing.T) { nothing(t, b) })
	t.Run("report", func(t *testing.T) { report(t, b) })
}

// report opens the report of a tour of all eight modes and shows that at the end of each step the page has the laptop in its network,
// the mode, the layers with the octets that were counted, and the frame that was seen; that a person gets to any time by the slider, by
// keys and by the table; and that it fits a narrow window and reads well in light and in dark.
func report(t *testing.T, b *browser.Browser) {
	r := tour(t)
	moments := all(t, r)
	url := written(t, r)
	must(t, b.Open(url))
	must(t, b.Await(`document.getElementById("verdict").className === "passed"`))
	if v := content(t, b, "verdict"); !strings.Contains(v, "0 frames in plaintext outside") {
		t.Errorf("the verdict is %q", v)
	}
	places := map[string]string{} // where the laptop is drawn, by network
	seen := map[string]bool{}
	var last *recording.Packet
	for _, m := range moments {
		if m.Kind == recording.KindPacket {
			last = m.Packet
		}
		if m.Kind != scenario.MomentChange {
			continue
		}
		at := float64(int(m.At*10)) / 10
		must(t, b.Evaluate(fmt.Sprintf(`location.hash = "#t=%.1f"`, at), nil))
		shown(t, b, at)
		state := evaluate[struct {
			Facts, Place, Laptop, Packet, Current, Mark string
			Octets                                      []int
			Dump                                        int
		}](t, b, `({
			Facts: document.getElementById("facts").innerText,
			Place: document.getElementById("map-text").textContent,
			Laptop: document.getElementById("laptop").style.transform,
			Packet: document.getElementById("packet-text").textContent,
			Current: document.querySelector("#modes [aria-current]").dataset.mode,
			Octets: [...document.querySelectorAll("#headers tbody td:last-child")].map((e) => Number(e.textContent)),
			Dump: [...document.querySelectorAll("#frame pre span")].reduce((n, e) => n + e.textContent.trim().split(" ").length, 0),
			Mark: [...document.querySelectorAll("#map .way")].map((e) => e.classList[1]).join(" "),
		})`)
		mode, network := m.Change.To, last.Network
		seen[mode] = true
		if places[network] == "" {
			places[network] = state.Laptop
		}
		var octets []int
		for _, h := range last.Headers {
			if !h.Behind {
				octets = append(octets, h.Octets)
			}
		}
		octets = append(octets, last.Length-overhead.Octets(last.Headers))
		for _, h := range last.Headers {
			if h.Behind {
				octets = append(octets, h.Octets)
			}
		}
		if !strings.Contains(state.Facts, "\n"+mode+"\n") || !strings.Contains(state.Place, " is in "+network+" ") || state.Laptop != places[network] {
			t.Errorf("at %.1f s, in %s in mode %s, the page says %q, %q, laptop at %s", at, network, mode, state.Facts, state.Place, state.Laptop)
		}
		if want := fmt.Sprintf("Mode %s in %s: %d octets around", mode, network, overhead.Octets(last.Headers)); !strings.Contains(state.Packet, want) ||
			!slices.Equal(state.Octets, octets) || state.Dump != last.Length || !strings.HasPrefix(state.Current, mode) {
			t.Errorf("at %.1f s, want %q with the octets %v, %d of the frame: %+v", at, want, octets, last.Length, state)
		}
		var ways []string
		for _, l := range m.Change.Layers {
			if l.Kind != "underlay" {
				ways = append(ways, l.Kind)
			}
		}
		if want := strings.Join(append(ways, "payload"), " "); state.Mark != want {
			t.Errorf("at %.1f s the map has the ways %s, want %s", at, state.Mark, want)
		}
		if mode == "cvc" {
			picture(t, b, "report-cvc")
		}
	}
	if len(seen) != 8 || len(places) < 5 {
		t.Errorf("the page showed the modes %v and the networks %v", seen, places)
	}
	distinct := map[string]bool{}
	for _, p := range places {
		distinct[p] = true
	}
	if len(distinct) != len(places) {
		t.Errorf("the laptop is drawn at the same place in two networks: %v", places)
	}

	t.Run("slider", func(t *testing.T) {
		must(t, b.Evaluate(`document.getElementById("slider").focus()`, nil))
		must(t, b.Press("Home", 36))
		shown(t, b, 0)
		must(t, b.Press("ArrowRight", 39))
		shown(t, b, 0.1)
		must(t, b.Evaluate(`document.querySelector("#changes tbody tr:nth-child(3) button").click()`, nil))
		must(t, b.Await(`document.querySelector("#changes tbody tr:nth-child(3)").className === "now"`))
		must(t, b.Evaluate(`document.querySelector("#changes tbody tr:nth-last-child(2) button").click()`, nil))
		must(t, b.Await(`document.querySelector("#changes tbody tr:nth-last-child(2)").className === "now"`))
		must(t, b.Evaluate(`document.getElementById("slider").focus(); document.getElementById("speed").value = "20"; document.getElementById("play").click()`, nil))
		must(t, b.Await(`document.querySelector("#changes tbody tr:last-child").className === "now" && document.getElementById("play").textContent === "Play"`))
	})
	t.Run("names", func(t *testing.T) { accessible(t, b) })
	for _, c := range []struct {
		name          string
		width, height int
		dark          bool
	}{{"report-light", 1180, 2100, false}, {"report-dark", 1180, 2100, true}, {"report-narrow", 390, 2400, false}} {
		t.Run(c.name, func(t *testing.T) {
			must(t, b.View(c.width, c.height, c.dark))
			if wide := evaluate[int](t, b, "document.documentElement.scrollWidth"); wide > c.width {
				t.Errorf("the page is %d pixels wide in a window of %d", wide, c.width)
			}
			readable(t, b)
			picture(t, b, c.name)
		})
	}
	quiet(t, b, url)
}

// accessible shows that what a person operates has a name, and that pictures have one too.
func accessible(t *testing.T, b *browser.Browser) {
	nodes, err := b.Accessible()
	must(t, err)
	count := map[string]int{}
	for _, n := range nodes {
		switch n.Role {
		case "button", "slider", "combobox", "link", "image", "img", "table", "region", "heading":
			if count[n.Role]++; n.Name == "" && n.Role != "table" {
				t.Errorf("a %s has no name", n.Role)
			}
		}
	}
	if count["button"] < 5 || count["slider"] != 1 || count["combobox"] != 1 || count["image"]+count["img"] < 3 || count["heading"] < 8 {
		t.Errorf("on the page there are %v", count)
	}
}

// readable shows that text has a contrast of at least 4.5 to 1 with what is behind it (WCAG 2.2, success criterion 1.4.3).
func readable(t *testing.T, b *browser.Browser) {
	t.Helper()
	poor := evaluate[[]string](t, b, `(() => {
		const part = (c) => { c /= 255; return c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4; };
		const light = ([r, g, b]) => 0.2126 * part(r) + 0.7152 * part(g) + 0.0722 * part(b);
		const numbers = (s) => s.match(/[\d.]+/g).map(Number);
		const behind = (e) => {
			for (; e; e = e.parentElement) {
				const c = numbers(getComputedStyle(e).backgroundColor);
				if (c.length === 3 || c[3] > 0) return c;
			}
			return [255, 255, 255];
		};
		const poor = [];
		for (const e of document.querySelectorAll("h1, h2, h3, p, dt, dd, small, li, td, th, button, label, output, select, caption, figcaption, pre, pre span, .bar.big span")) {
			if (!e.innerText || !e.innerText.trim()) continue;
			const a = light(numbers(getComputedStyle(e).color)), b = light(behind(e));
			const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
			if (ratio < 4.5) poor.push(e.tagName + "." + e.className + " " + ratio.toFixed(2) + " " + e.innerText.slice(0, 30));
		}
		return poor;
	})()`)
	if len(poor) > 0 {
		t.Errorf("text is hard to read: %q", poor)
	}
}

// hostile is what no page may take for markup.
const hostile = `</script><img src=x onerror="document.title='taken'"><b id="taken">`

// noticed shows that what a page does wrong is noticed: an exception, and what its policy refuses to load.
func noticed(t *testing.T, b *browser.Browser) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		w.Header().Set("Content-Security-Policy", "default-src 'none'; script-src 'self'")
		if q.URL.Path == "/wrong.js" {
			w.Header().Set("Content-Type", "text/javascript")
			fmt.Fprint(w, "document.title = 'ran'; throw new Error('on purpose')")
			return
		}
		w.Header().Set("Content-Type", "text/html")
		fmt.Fprint(w, `<!doctype html><script src="/wrong.js"></script><script>document.title = "inline"</script><img src="http://127.0.0.1:1/away.png">`)
	}))
	defer server.Close()
	must(t, b.Open(server.URL+"/"))
	must(t, b.Await(`document.title === "ran"`))
	said := strings.Join(b.Complaints(), "\n")
	for _, want := range []string{"on purpose", "inline script", "away.png"} {
		if !strings.Contains(said, want) {
			t.Errorf("of %q nothing is said in\n%s", want, said)
		}
	}
	if r := b.Requests(); !slices.Contains(r, server.URL+"/wrong.js") {
		t.Errorf("the requests are %q", r)
	}
}

// live follows a run from its first moment, loses the server and finds it again, sees a leak, and shows that the page works
// on when the server has gone. Text is text.
func live(t *testing.T, b *browser.Browser) {
	var r recording.Recording
	server := httptest.NewServer(Handler(&r))
	defer func() {
		server.CloseClientConnections()
		server.Close()
	}()
	must(t, b.Open(server.URL+"/"))
	steps := []scenario.Step{{Interface: "eth0", Network: "cafe", Mode: "vc"}, {Interface: "eth0", Network: "campus", Mode: "vc"}}
	r.Add(recording.Moment{Moment: scenario.Moment{Kind: recording.KindStage}, Stage: recording.NewStage("a test", steps)})
	must(t, b.Await(`document.getElementById("world").textContent === "a test"`))
	at := func(s float64, m scenario.Moment) {
		m.At = s
		r.Add(recording.Moment{Moment: m})
	}
	at(0.5, scenario.Moment{Kind: scenario.MomentStep, Text: "eth0 into cafe", Cable: &scenario.Cable{Interface: "eth0", Network: "cafe"}})
	must(t, b.Await(`document.getElementById("map-text").textContent.includes("eth0 is in cafe")`))
	at(1, scenario.Moment{Kind: scenario.MomentLine, Text: hostile})
	at(1.5, scenario.Moment{Kind: scenario.MomentClient, Client: &scenario.ClientState{State: control.StateConnected, Mode: "vc", Interface: "eth0", Reason: hostile}})
	must(t, b.Await(`document.querySelector("#modes [aria-current]").dataset.mode === "vc"`))

	server.CloseClientConnections()
	at(2, scenario.Moment{Kind: scenario.MomentLine, Text: "behind the break"})
	must(t, b.Await(`document.getElementById("log").textContent.includes("behind the break")`))
	log := content(t, b, "log")
	if strings.Count(log, "behind the break") != 1 || strings.Count(log, hostile) != 1 {
		t.Errorf("the log is %q", log)
	}
	if taken := evaluate[bool](t, b, `document.title === "taken" || document.getElementById("taken") !== null`); taken {
		t.Error("text has become markup")
	}

	for i := range 30 {
		leaks := 0
		if i >= 20 {
			leaks = 3
		}
		at(2+float64(i)/10, scenario.Moment{Kind: scenario.MomentSample, Sample: &scenario.Sample{TCP: int64(10_000 * i), Sent: 10 * i, Back: 10 * i, Outside: 100 * i, Leaks: leaks}})
	}
	must(t, b.Await(`document.querySelectorAll("#line .leak").length === 1`))
	if f := evaluate[string](t, b, `document.getElementById("facts").innerText`); !strings.Contains(f, "3 frames") {
		t.Errorf("the facts are %q", f)
	}
	report := &scenario.Report{}
	report.Fail("3 frames: %s", hostile)
	r.Add(recording.Moment{Moment: scenario.Moment{Kind: recording.KindEnd, At: 5}, Report: report})
	must(t, b.Await(`document.getElementById("verdict").className === "failed"`))
	if v := content(t, b, "verdict"); v != "Failed: 3 frames: "+hostile {
		t.Errorf("the verdict is %q", v)
	}
	quiet(t, b, server.URL+"/")

	server.Close() // all has been sent
	must(t, b.Evaluate(`document.getElementById("slider").focus()`, nil))
	must(t, b.Press("Home", 36))
	shown(t, b, 0)
	if p := content(t, b, "map-text"); !strings.Contains(p, "in no network") {
		t.Errorf("at the beginning the laptop is: %s", p)
	}
	must(t, b.Press("End", 35))
	shown(t, b, 5)
	picture(t, b, "live-leak")
}

// nothing shows the report of a run that ended before it began, with the reason, and one of a run that broke off.
func nothing(t *testing.T, b *browser.Browser) {
	stage := recording.Moment{Moment: scenario.Moment{Kind: recording.KindStage}, Stage: recording.NewStage("a test", scenario.Tour)}
	for _, c := range []struct {
		moments []recording.Moment
		want    string
	}{
		{[]recording.Moment{stage, ending("no TUN device")}, "could not be played to its end: no TUN device"},
		{[]recording.Moment{stage, line("one")}, "what came until then"},
	} {
		var r recording.Recording
		for _, m := range c.moments {
			r.Add(m)
		}
		url := written(t, &r)
		must(t, b.Open(url))
		must(t, b.Await(fmt.Sprintf(`document.getElementById("verdict").textContent.includes(%q)`, c.want)))
		quiet(t, b, url)
	}
}
