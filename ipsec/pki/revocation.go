package pki

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"strings"
	"time"
)

// Revocation says how much depends on an answer about revocation.
type Revocation uint8

// The modes. A certificate that is known to be revoked is refused by soft and hard alike.
const (
	// RevocationSoft looks it up and goes on where nobody answers.
	RevocationSoft Revocation = iota
	// RevocationHard refuses where nobody answers.
	RevocationHard
	// RevocationOff does not look it up.
	RevocationOff
)

// String returns the word for the configuration.
func (r Revocation) String() string {
	switch r {
	case RevocationSoft:
		return "soft"
	case RevocationHard:
		return "hard"
	case RevocationOff:
		return "off"
	}
	return fmt.Sprintf("revocation mode %d", uint8(r))
}

// clockSkew is how far a CRL's or a response's times may be ahead of our clock.
const clockSkew = 5 * time.Minute

// answer is what is known about one certificate's revocation.
type answer uint8

const (
	noAnswer answer = iota
	good
	revoked
)

// evidence is one way to an answer. The error of noAnswer says why.
type evidence struct {
	answer answer
	by     string // "OCSP", "CRL"
	at     time.Time
}

// checkRevocation checks every certificate of the chain but the anchor, and says how the leaf's revocation was answered.
func (v *Verifier) checkRevocation(ctx context.Context, chain []*x509.Certificate, p Presented, now time.Time) (string, error) {
	if v.Revocation == RevocationOff {
		return "not checked", nil
	}
	how := "the certificate is the trust anchor itself"
	for i := range len(chain) - 1 {
		q := question{verifier: v, certificate: chain[i], issuer: chain[i+1], presented: p, now: now}
		e, err := q.ask(ctx)
		switch {
		case ctx.Err() != nil:
			return "", ctx.Err()
		case e.answer == revoked:
			return "", about(ErrRevoked, chain[i], "since %s, says its authority's %s", stamp(e.at), e.by)
		case e.answer == noAnswer && v.Revocation == RevocationHard:
			return "", fmt.Errorf("%w: certificate %s: %w", ErrRevocationUnknown, name(chain[i]), err)
		}
		if i > 0 {
			continue
		}
		how = e.by
		if e.answer == noAnswer {
			how = "no answer: " + err.Error()
		}
	}
	return how, nil
}

// question is the question whether one certificate is revoked.
type question struct {
	verifier            *Verifier
	certificate, issuer *x509.Certificate
	presented           Presented
	now                 time.Time
	reasons             []error // why there is no answer
}

// errNobody is the reason where there is nobody to ask.
var errNobody = errors.New("no CRL and no OCSP response was given, and its certificate names nobody to ask")

// ask looks at what is there and asks others when that is not enough. "Revoked" of any of them wins over "good" of those before
// it only among what came in-band or is configured: then the first answer ends the search.
func (q *question) ask(ctx context.Context) (evidence, error) {
	best := evidence{}
	take := func(e evidence, err error) bool {
		if err != nil {
			q.reasons = append(q.reasons, err)
		}
		if e.answer > best.answer {
			best = e
		}
		return best.answer == revoked
	}
	for _, der := range q.presented.OCSP {
		if take(q.response(der)) {
			return best, nil
		}
	}
	for _, der := range q.presented.CRLs {
		if take(q.encodedList(der)) {
			return best, nil
		}
	}
	for _, l := range q.verifier.CRLs {
		if take(q.list(l)) {
			return best, nil
		}
	}
	if best.answer != noAnswer {
		return best, nil
	}
	for _, url := range web(q.certificate.OCSPServer) {
		if take(q.askResponder(ctx, url)); best.answer != noAnswer {
			return best, nil
		}
	}
	for _, url := range web(q.certificate.CRLDistributionPoints) {
		if take(q.fetchList(ctx, url)); best.answer != noAnswer {
			return best, nil
		}
	}
	if len(q.reasons) == 0 {
		return best, errNobody
	}
	return best, errors.Join(q.reasons...)
}

// maxSources is how many responders, and how many distribution points, of one certificate are asked.
const maxSources = 4

// web returns the addresses that begin with http:// or https://, the first few of them.
func web(urls []string) []string {
	var out []string
	for _, u := range urls {
		if (strings.HasPrefix(u, "http://") || strings.HasPrefix(u, "https://")) && len(out) < maxSources {
			out = append(out, u)
		}
	}
	return out
}

// fresh checks the times of a CRL or response. One without an end is taken for a day.
func fresh(what string, begin, end, now time.Time) error {
	if end.IsZero() {
		end = begin.Add(24 * time.Hour)
	}
	switch {
	case begin.After(now.Add(clockSkew)):
		return fmt.Errorf("the %s is of %s, which is to come", what, stamp(begin))
	case end.Before(now.Add(-clockSkew)):
		return fmt.Errorf("the %s ended %s", what, stamp(end))
	}
	return nil
}
