package ipsec

import (
	"context"
	"crypto"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"time"

	"mipvpn/client/config"
	"mipvpn/client/secret"
	"mipvpn/client/vpn"
	"mipvpn/ipsec/credential"
	"mipvpn/ipsec/ike"
	"mipvpn/ipsec/ike/message"
	"mipvpn/ipsec/pki"
	"mipvpn/tun/link"
)

// proofs are what the client proves its identity with, as far as it is not in the configuration: the private key, which may be in a
// device that wants a PIN, and the password. They stay from the first time that they are needed until they are wrong or the client
// goes down, so that neither a move nor a new attempt asks a person again.
type proofs struct {
	desk   *secret.Desk
	cancel context.CancelFunc // of what is being got, nil while nothing is
	key    *key
}

// key is a credential that goroutines sign with.
type key struct {
	mu     sync.Mutex
	loaded *credential.Credential
	gone   bool
}

// use calls f with the credential, unless it has been closed.
func (k *key) use(f func(*credential.Credential) ([]byte, error)) ([]byte, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.gone {
		return nil, errors.New("the private key is not in use any more")
	}
	return f(k.loaded)
}

// close closes the credential, once nobody signs with it.
func (k *key) close() {
	k.mu.Lock()
	defer k.mu.Unlock()
	if !k.gone {
		k.gone = true
		_ = k.loaded.Close() // nothing can be done about it, and the device forgets by itself
	}
}

// Names of secrets, which key rings know them by.
func (p *Protocol) passwordName() string { return passwordName(p.cfg) }

func passwordName(cfg *config.Config) string {
	return "password of " + user(cfg) + " at " + cfg.Gateway.RemoteIdentity
}

func pinName(a *config.Authentication) string {
	if a.Key != "" {
		return "PIN of " + a.Key
	}
	return "password of " + a.Certificate
}

func (p *Protocol) user() string { return user(p.cfg) }

func user(cfg *config.Config) string {
	if u := cfg.Authentication.User; u != "" {
		return u
	}
	return cfg.Gateway.LocalIdentity
}

// Reconfigured says that the configuration is another one than it was before. Tunnels that are dialed from now on go by it. A private key
// and what people have answered are kept as far as they are what the configuration asks for.
func (p *Protocol) Reconfigured(before *config.Config) {
	was, is := &before.Authentication, &p.cfg.Authentication
	if was.Certificate != is.Certificate || was.Digest != is.Digest || was.Key != is.Key || was.TPM != is.TPM || was.PIN != is.PIN ||
		was.UsesCertificate() != is.UsesCertificate() {
		p.dropKey()
	}
	if p.cancel != nil { // it is getting what may not be asked for any more
		p.cancel()
		p.cancel = nil
	}
	if was.PIN != is.PIN || pinName(was) != pinName(is) {
		p.desk.Drop(pinName(was))
	}
	if was.Password != is.Password || passwordName(before) != passwordName(p.cfg) {
		p.desk.Drop(passwordName(before))
	}
}

// Prepare implements vpn.Protocol.
func (p *Protocol) Prepare(run func(f func()), done func(error)) bool {
	a := &p.cfg.Authentication
	needKey := a.UsesCertificate() && p.key == nil
	needPassword := false
	if a.UsesPassword() {
		known := p.desk.Known(p.passwordName())
		needPassword = known == nil
		clear(known)
	}
	if !needKey && !needPassword {
		return true
	}
	ctx, cancel := context.WithCancel(context.Background())
	p.cancel = cancel
	own := *p.cfg
	go func() {
		var loaded *credential.Credential
		var err error
		if needKey {
			loaded, err = p.load(ctx, own.Authentication)
		}
		if err == nil && needPassword {
			var s []byte
			s, err = p.desk.Ask(ctx, passwordName(&own), "Password of "+user(&own), own.Authentication.Password)
			clear(s) // it is asked for again when it is used
		}
		run(func() {
			if ctx.Err() != nil { // forgotten meanwhile
				if loaded != nil {
					_ = loaded.Close()
				}
				return
			}
			cancel()
			p.cancel = nil
			if loaded != nil {
				p.key = &key{loaded: loaded}
			}
			done(err)
		})
	}()
	return false
}

// load loads the credential, on a goroutine of its own.
func (p *Protocol) load(ctx context.Context, a config.Authentication) (*credential.Credential, error) {
	name := pinName(&a)
	c, err := credential.Load(credential.Source{
		Certificate: a.Certificate, Key: a.Key, Device: a.TPM, ReadPrivate: config.ReadPrivateFile, ReadPublic: os.ReadFile,
		Ask: func(prompt string) ([]byte, error) { return p.desk.Ask(ctx, name, prompt, a.PIN) },
	})
	if errors.Is(err, credential.ErrPassword) {
		p.desk.Wrong(name, "it was refused")
	}
	return c, err
}

// Forget implements vpn.Protocol.
func (p *Protocol) Forget() {
	if p.cancel != nil {
		p.cancel()
		p.cancel = nil
	}
	p.dropKey()
	p.desk.Forget()
}

// dropKey closes the private key; the next preparation opens it again.
func (p *Protocol) dropKey() {
	if k := p.key; k != nil {
		p.key = nil
		go k.close() // a device may be signing
	}
}

// errUnprepared means that a tunnel was dialed before Prepare was done.
var errUnprepared = errors.New("the private key is not open yet")

// authenticate fills in how both ends prove who they are.
func (a *access) authenticate(c *ike.InitiatorConfig) error {
	auth, g := &a.protocol.cfg.Authentication, a.protocol.cfg.Gateway
	for i, r := range auth.AllRounds() {
		proof := ike.Proof{ID: c.LocalID}
		switch {
		case r == config.RoundPSK:
			proof.PSK = g.PSK
		case r == config.RoundCertificate:
			if a.protocol.key == nil {
				return errUnprepared
			}
			proof.Certificates = a.protocol.key.loaded.Certificates()
		default:
			proof.EAP = true
			if i > 0 && auth.User != "" { // the machine has its identity, the person another
				user, err := message.NewIdentity(auth.User)
				if err != nil {
					return err
				}
				proof.ID = user
			}
		}
		c.Rounds = append(c.Rounds, proof)
	}
	accepts := auth.Accepts()
	if slices.Contains(accepts, config.GatewayPSK) {
		c.Accept.PSK = g.PSK
	}
	c.Accept.EAP = slices.Contains(accepts, config.GatewayEAP)
	if slices.Contains(accepts, config.GatewayCertificate) {
		trust := a.protocol.cfg.Trust
		c.Accept.Certificates, c.Accept.OCSP = true, trust.OCSP
		if trust.Verifier != nil {
			c.Accept.Authorities = trust.Verifier.Anchors.Hashes()
		}
	}
	return nil
}

// sign signs for IKE.
func (k *key) sign(s ike.SignatureScheme, octets []byte) ([]byte, error) {
	return k.use(func(c *credential.Credential) ([]byte, error) { return c.Sign(s, octets) })
}

// signDigest signs for TLS.
func (k *key) signDigest(digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	return k.use(func(c *credential.Credential) ([]byte, error) {
		signature, err := c.Signer().Sign(rand.Reader, digest, opts)
		if err != nil {
			return nil, fmt.Errorf("the private key: %w", err)
		}
		return signature, nil
	})
}

// warnOfOwn tells people that the laptop's own certificate is past its time: gateways say no more than that they refuse it.
func (t *tunnel) warnOfOwn(now link.Instant) {
	k := t.access.protocol.key
	if k == nil {
		return
	}
	if c := k.loaded.Leaf(); now.Wall.After(c.NotAfter) || now.Wall.Before(c.NotBefore) {
		t.emit(vpn.Trouble{What: "the laptop's own certificate", Err: fmt.Errorf("%w: it is valid from %s to %s", pki.ErrExpired,
			c.NotBefore.UTC().Format(time.RFC3339), c.NotAfter.UTC().Format(time.RFC3339))})
	}
}
