package portal

import (
	"fmt"
	"net/netip"
	"net/url"
	"strconv"
)

// Question is one HTTP GET request over TCP, made straight through one interface.
type Question struct {
	// Host is the IPv4 address or the name that the request goes to and names in its Host field.
	Host string
	// Port is the TCP port.
	Port uint16
	// Path is the target of the request with its query, beginning with a slash.
	Path string
	// Status is the status code that the real server answers with, and Body what its body begins with. With Status 0 the
	// real server serves no HTTP, so that everything that answers is foreign.
	Status int
	Body   string
}

// httpPort is the port that portals intercept.
const httpPort = 80

// AskHomeAgent returns the question to the x-HA with this address, which serves no HTTP.
func AskHomeAgent(address netip.Addr) Question {
	return Question{Host: address.String(), Port: httpPort, Path: "/"}
}

// AskServer returns the question for a URL whose server is known to answer with the status and a body that begins with body.
// Only http will do, since nothing can answer in the place of an https server. Errors say what was expected.
func AskServer(probe string, status int, body string) (Question, error) {
	u, err := url.Parse(probe)
	switch {
	case err != nil:
		return Question{}, fmt.Errorf("portal: probe URL: %w", err)
	case u.Scheme != "http":
		return Question{}, fmt.Errorf("portal: probe URL has scheme %q, expected http: a portal cannot answer for an https server", u.Scheme)
	case u.User != nil || u.Opaque != "" || !validHost(u.Hostname()):
		return Question{}, fmt.Errorf("portal: probe URL %q: expected http://NAME/PATH or http://ADDRESS/PATH", probe)
	case status < 200 || status > 599:
		return Question{}, fmt.Errorf("portal: status %d, expected 200 to 599", status)
	}
	q := Question{Host: u.Hostname(), Port: httpPort, Path: u.RequestURI(), Status: status, Body: body}
	if p := u.Port(); p != "" {
		n, err := strconv.ParseUint(p, 10, 16)
		if err != nil || n == 0 {
			return Question{}, fmt.Errorf("portal: probe URL %q: port %q, expected 1 to 65535", probe, p)
		}
		q.Port = uint16(n)
	}
	return q, nil
}

// Authority returns the Host field of the request: the host, and the port where it is not HTTP's own (RFC 9110 §7.2).
func (q Question) Authority() string {
	if q.Port == httpPort {
		return q.Host
	}
	return q.Host + ":" + strconv.Itoa(int(q.Port))
}

// URL returns the question's URL, which is also where a browser meets a portal that names no page.
func (q Question) URL() string { return "http://" + q.Authority() + q.Path }
