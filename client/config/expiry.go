package config

import (
	"crypto/x509"
	"fmt"
	"time"
)

// expiryNotice is how long before its end a certificate is warned of; of one whose whole time is short, in its last third.
const expiryNotice = 30 * 24 * time.Hour

// ending warns of certificates in the file of that path whose time is nearly up, or is.
func (r *reader) ending(key, path string, certificates []*x509.Certificate, now time.Time) {
	for _, c := range certificates {
		left := c.NotAfter.Sub(now)
		if left > min(expiryNotice, c.NotAfter.Sub(c.NotBefore)/3) {
			continue
		}
		until := c.NotAfter.UTC().Format(time.RFC3339)
		if left <= 0 {
			r.warn(key, fmt.Sprintf("%s: the certificate of %q was valid until %s: it is refused. Put a new one in its place, and run `mipvpn reload`", path, c.Subject.CommonName, until))
			continue
		}
		r.warn(key, fmt.Sprintf("%s: the certificate of %q is valid until %s: have it renewed, put the new one in its place, and run `mipvpn reload`", path, c.Subject.CommonName, until))
	}
}
