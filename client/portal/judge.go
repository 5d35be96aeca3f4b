package portal

import (
	"fmt"
	"net/netip"
	"net/url"
	"strings"
)

// MaxBody is how many octets of an answer's body are looked at.
const MaxBody = 32 << 10

// Observation is what came of a Question.
type Observation struct {
	// Connected says that TCP's handshake was done.
	Connected bool
	// Status is the status code of the HTTP answer, 0 without one.
	Status int
	// Location is the answer's Location field, as it came.
	Location string
	// Body is the beginning of the answer's body, at most MaxBody octets.
	Body []byte
	// Failure says in plain words why there is no answer, empty with one. It holds nothing that came from the other end.
	Failure string
}

// Kind is what an observation means.
type Kind uint8

// The kinds.
const (
	// Silent: nothing was learnt.
	Silent Kind = iota
	// Genuine: the real server has answered, so that no portal stands between.
	Genuine
	// Foreign: something has answered in the place of the real server.
	Foreign
)

// String returns "silent", "genuine" or "foreign".
func (k Kind) String() string { return [...]string{"silent", "genuine", "foreign"}[k] }

// Finding is a judged observation. Its texts are fit for a terminal.
type Finding struct {
	// Kind is what the observation means.
	Kind Kind
	// URL is the portal's page, an http or https URL of printable ASCII; empty where the answer names none that may be
	// opened.
	URL string
	// Host is the name or address in URL.
	Host string
	// Address is Host where that is an address, else the zero Addr.
	Address netip.Addr
	// Reason says in plain words how that is known.
	Reason string
}

// Judge says what the observation of the question means. It never fails: what cannot be understood is foreign where
// something answered, and silent otherwise.
func Judge(q Question, o Observation, f Forbidden) Finding {
	switch {
	case !o.Connected:
		return Finding{Kind: Silent, Reason: orElse(o.Failure, "no connection")}
	case q.Status != 0 && o.Status == 0:
		return Finding{Kind: Silent, Reason: orElse(o.Failure, "no HTTP answer")}
	case q.Status != 0 && o.Status == q.Status && strings.HasPrefix(string(o.Body), q.Body):
		return Finding{Kind: Genuine, Reason: fmt.Sprintf("%s answers as it should", q.Authority())}
	}
	found := Finding{Kind: Foreign}
	switch {
	case o.Status == 0:
		found.Reason = fmt.Sprintf("something accepts connections in the name of %s, which has no such service", q.Authority())
	case q.Status == 0:
		found.Reason = fmt.Sprintf("something answers HTTP (status %d) in the name of %s, which has no such service", o.Status, q.Authority())
	default:
		found.Reason = fmt.Sprintf("status %d in the name of %s, which answers with %d", o.Status, q.Authority(), q.Status)
	}
	raw := ""
	switch {
	case o.Status/100 == 3:
		raw = o.Location
	case o.Status != 0:
		raw = refresh(o.Body)
	}
	if raw == "" {
		return found
	}
	u, err := page(q, raw, f)
	if err != nil {
		found.Reason += "; its page is not opened: " + err.Error()
		return found
	}
	found.URL, found.Host = u.String(), u.Hostname()
	if a, err := netip.ParseAddr(found.Host); err == nil {
		found.Address = a
	}
	return found
}

// maxURL is the greatest length of a portal's URL in octets.
const maxURL = 2048

// page returns the URL that raw, as the answer to q has it, leads a browser to. The errors are fit for a terminal.
func page(q Question, raw string, f Forbidden) (*url.URL, error) {
	if len(raw) > maxURL {
		return nil, fmt.Errorf("its URL has %d octets, at most %d are allowed", len(raw), maxURL)
	}
	if strings.ContainsFunc(raw, func(r rune) bool { return r <= ' ' || r > '~' || r == '\\' }) {
		return nil, fmt.Errorf("its URL has characters that no URL has (RFC 3986 section 2)")
	}
	base := &url.URL{Scheme: "http", Host: q.Authority(), Path: "/"}
	if b, err := url.Parse(q.URL()); err == nil {
		base = b
	}
	ref, err := url.Parse(raw)
	if err != nil {
		return nil, fmt.Errorf("its URL cannot be read (RFC 3986)")
	}
	u := base.ResolveReference(ref)
	u.User, u.Fragment, u.RawFragment = nil, "", "" // a name in front of @ deceives
	switch {
	case u.Scheme != "http" && u.Scheme != "https":
		return nil, fmt.Errorf("its URL is neither http nor https")
	case u.Opaque != "" || !validHost(u.Hostname()):
		return nil, fmt.Errorf("its URL names no host that can be opened")
	case len(u.String()) > maxURL || strings.ContainsFunc(u.String(), func(r rune) bool { return r <= ' ' || r > '~' }):
		return nil, fmt.Errorf("its URL cannot be written (RFC 3986)")
	}
	if a, err := netip.ParseAddr(u.Hostname()); err == nil && !f.Admits(a) {
		return nil, fmt.Errorf("it is at %v, which belongs to the enterprise, a home agent or this host", a)
	}
	return u, nil
}

func orElse(s, other string) string {
	if s == "" {
		return other
	}
	return s
}
