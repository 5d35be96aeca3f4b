package pki

import (
	"bytes"
	"context"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"
)

// Fetcher fetches what certificates name: distribution points of CRLs and OCSP responders. Answers are not trusted: they are
// signed, and checked by the Verifier. It must take calls from several goroutines.
type Fetcher interface {
	// CRL returns the revocation list at the address, which begins with http:// or https://.
	CRL(ctx context.Context, url string) ([]byte, error)
	// OCSP sends the request in DER to the responder at the address and returns its response (RFC 6960 appendix A).
	OCSP(ctx context.Context, url string, request []byte) ([]byte, error)
}

// fetchLimit is how long one fetch may take.
const fetchLimit = 10 * time.Second

// HTTPFetcher is a Fetcher by HTTP. No cookie, no proxy, no authentication; a few redirections are followed.
type HTTPFetcher struct{ client http.Client }

var _ Fetcher = (*HTTPFetcher)(nil)

// NewHTTPFetcher makes one whose connections dial makes; nil for the host's ordinary ones.
func NewHTTPFetcher(dial func(ctx context.Context, network, address string) (net.Conn, error)) *HTTPFetcher {
	if dial == nil {
		dial = (&net.Dialer{Timeout: fetchLimit}).DialContext
	}
	return &HTTPFetcher{client: http.Client{
		Transport: &http.Transport{DialContext: dial, DisableKeepAlives: true, TLSHandshakeTimeout: fetchLimit, MaxResponseHeaderBytes: 16 << 10},
		Timeout:   fetchLimit,
		CheckRedirect: func(r *http.Request, via []*http.Request) error {
			if len(via) > 3 {
				return errors.New("more than 3 redirections")
			}
			return nil
		},
	}}
}

// CRL implements Fetcher.
func (f *HTTPFetcher) CRL(ctx context.Context, url string) ([]byte, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	return f.do(r, maxCRL)
}

// OCSP implements Fetcher.
func (f *HTTPFetcher) OCSP(ctx context.Context, url string, request []byte) ([]byte, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(request))
	if err != nil {
		return nil, err
	}
	r.Header.Set("Content-Type", "application/ocsp-request")
	r.Header.Set("Accept", "application/ocsp-response")
	return f.do(r, maxOCSP)
}

// do returns the body of the answer, which has at most limit octets.
func (f *HTTPFetcher) do(r *http.Request, limit int64) ([]byte, error) {
	r.Header.Set("User-Agent", "mipvpn")
	answer, err := f.client.Do(r)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("HTTP status %d, expected 200", answer.StatusCode)
	}
	body, err := io.ReadAll(io.LimitReader(answer.Body, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(body)) > limit {
		return nil, fmt.Errorf("the answer is longer than %d octets", limit)
	}
	return body, nil
}

// unPEM returns the content of the first PEM block of the type, or b itself where that is no PEM.
func unPEM(b []byte, kind string) []byte {
	for rest := b; bytes.Contains(rest, []byte("-----BEGIN")); {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		if block.Type == kind {
			return block.Bytes
		}
	}
	return b
}
