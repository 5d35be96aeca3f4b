package page

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"mipvpn/client/control"
	"mipvpn/cmd/miplab/internal/recording"
)

const (
	// maxReaders is how many pages may follow a recording at once.
	maxReaders = 32
	// idleLine is how often a page that waits is sent an empty line, so that one that has gone is found out.
	idleLine = 15 * time.Second
	// retry is after how long a page asks again when the connection broke.
	retry = time.Second
)

// Handler returns the page and the recording behind it: "/", its parts, "/events" with the moments, and "/report.html".
func Handler(r *recording.Recording) http.Handler {
	mux := http.NewServeMux()
	part := func(path, kind, text string) {
		mux.HandleFunc("GET "+path, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", kind)
			fmt.Fprint(w, text)
		})
	}
	part("/{$}", "text/html; charset=utf-8", served())
	part("/page.css", "text/css; charset=utf-8", style)
	part("/page.js", "text/javascript; charset=utf-8", script)
	readers := make(chan struct{}, maxReaders)
	run := rand.Text()
	mux.HandleFunc("GET /events", func(w http.ResponseWriter, q *http.Request) {
		select {
		case readers <- struct{}{}:
			defer func() { <-readers }()
			follow(w, q, run, r)
		default:
			http.Error(w, fmt.Sprintf("%d pages are following already: close one", maxReaders), http.StatusServiceUnavailable)
		}
	})
	mux.HandleFunc("GET /report.html", func(w http.ResponseWriter, _ *http.Request) {
		var b bytes.Buffer
		if err := WriteReport(&b, r); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		w.Header().Set("Content-Disposition", `attachment; filename="miplab-report.html"`)
		w.Write(b.Bytes()) // a reader that has gone needs no answer
	})
	return guarded(mux)
}

// guarded refuses what was not sent to this machine by its own name, and sets the headers that all answers have.
func guarded(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", servedPolicy)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("Cache-Control", "no-store")
		if !control.NamesLoopback(q.Host) {
			http.Error(w, "this page is served to localhost alone", http.StatusMisdirectedRequest)
			return
		}
		next.ServeHTTP(w, q)
	})
}

// follow sends the moments as server-sent events until the last. The ID of each is the run, which tells a page that what comes is of
// another one, and the number of the next moment.
func follow(w http.ResponseWriter, q *http.Request, run string, r *recording.Recording) {
	w.Header().Set("Content-Type", "text/event-stream")
	answer := http.NewResponseController(w)
	next := 0
	if of, number, ok := strings.Cut(q.Header.Get("Last-Event-ID"), "."); ok && of == run {
		if n, err := strconv.Atoi(number); err == nil {
			next = max(n, 0)
		}
	}
	idle := time.NewTicker(idleLine)
	defer idle.Stop()
	fmt.Fprintf(w, "retry: %d\n\n", retry.Milliseconds())
	for {
		moments, ended, more := r.From(next)
		for _, m := range moments {
			next++
			fmt.Fprintf(w, "id: %s.%d\ndata: %s\n\n", run, next, m)
		}
		if err := answer.Flush(); err != nil || ended {
			return
		}
		select {
		case <-more:
		case <-idle.C:
			fmt.Fprint(w, ":\n\n")
		case <-q.Context().Done():
			return
		}
	}
}
