// Package page shows a recording in a browser: live from a server, or afterwards from one file.
//
// Purpose: Handler serves the page and, by server-sent events, the recording's moments as they come; WriteReport writes the same
// page with all moments in one HTML file that needs nothing else. The page draws the networks, the laptop's place among them and
// the tunnels in use, the headers around a packet, and a time line of throughput, outages and plaintext; any time can be gone back
// to. It is HTML, CSS and JavaScript without any framework, and loads nothing from elsewhere: the content security policy says so.
//
// Specification: WHATWG HTML (server-sent events, last event ID), Content Security Policy Level 3. Served to this machine alone: a
// request whose Host names another is refused, against DNS rebinding. Left out: access from other machines, authentication.
//
// Concurrency: a Handler serves several requests at once.
//
// Ownership: the Recording belongs to the caller. Tests keep what they have seen of the page as PNG files in the directory that the
// environment variable MIPVPN_SCREENSHOTS names.
package page
