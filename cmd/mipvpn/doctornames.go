package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"mipvpn/client/control"
	"mipvpn/client/dns"
)

// lookupPatience is how long this machine's resolver may take.
const lookupPatience = 5 * time.Second

// lookupName asks this machine's resolver for the addresses of a name, as programs do.
func lookupName(ctx context.Context, name string) error {
	_, err := net.DefaultResolver.LookupHost(ctx, name)
	return err
}

// resolver asks this machine's resolver about a name of the enterprise's that nobody else asks about, and looks whether the question
// came to the client.
func (r *report) resolver(ctx context.Context, c *control.Client, before *control.DNS) error {
	if r.lookup == nil || before == nil || len(before.Servers) == 0 || len(before.Domains) == 0 {
		return nil
	}
	name := dns.CheckLabel + strings.ToLower(rand.Text()) + "." + before.Domains[0] + "."
	ask, cancel := context.WithTimeout(ctx, lookupPatience)
	defer cancel()
	err := r.lookup(ask, name)
	s, failed := c.Status(ctx)
	if failed != nil {
		return failed
	}
	asked := s.DNS != nil && s.DNS.Checks > before.Checks
	e, answered := errors.AsType[*net.DNSError](err)
	answered = err == nil || answered && e.IsNotFound
	switch {
	case asked && answered:
		r.add("resolver", checkOK, "this machine's resolver asks the client about "+before.Domains[0]+", and is answered", "")
	case asked:
		r.add("resolver", checkWarning, fmt.Sprintf("the client's name server %v has no answer about %s", before.Forwarder, before.Domains[0]),
			"check that the name servers inside are the right ones and up: "+join(before.Servers))
	default:
		r.add("resolver", checkWarning, fmt.Sprintf("this machine's resolver does not ask the client about %s", before.Domains[0]),
			fmt.Sprintf("something else has changed the resolver (another VPN, a container's, by hand): it has to ask %v (`resolvectl status`, /etc/resolv.conf)", before.Forwarder))
	}
	return nil
}
