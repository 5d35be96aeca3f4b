//go:build cgo

package credential

import (
	"crypto"
	"crypto/rsa"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"

	"github.com/miekg/pkcs11"

	"mipvpn/ipsec/ike"
)

// ckmEdDSA is CKM_EDDSA of PKCS #11 v3.0.
const ckmEdDSA = 0x1057

// modules are the libraries in use: a library is initialised once in a program, however many keys are on it.
var modules struct {
	sync.Mutex
	open map[string]*tokenModule
}

type tokenModule struct {
	*pkcs11.Ctx
	users int
}

// useModule loads a library, or shares it.
func useModule(path string) (*tokenModule, error) {
	modules.Lock()
	defer modules.Unlock()
	if m := modules.open[path]; m != nil {
		m.users++
		return m, nil
	}
	ctx := pkcs11.New(path)
	if ctx == nil {
		return nil, fmt.Errorf("%w: PKCS#11 library %s cannot be loaded: is it there, and of this architecture?", ErrKey, path)
	}
	if err := ctx.Initialize(); err != nil {
		ctx.Destroy()
		return nil, fmt.Errorf("%w: PKCS#11 library %s: %w", ErrKey, path, err)
	}
	if modules.open == nil {
		modules.open = make(map[string]*tokenModule)
	}
	m := &tokenModule{Ctx: ctx, users: 1}
	modules.open[path] = m
	return m, nil
}

// release gives a library back.
func (m *tokenModule) release(path string) error {
	modules.Lock()
	defer modules.Unlock()
	if m.users--; m.users > 0 {
		return nil
	}
	delete(modules.open, path)
	err := m.Finalize()
	m.Destroy()
	return err
}

// tokenKey is a private key on a token.
type tokenKey struct {
	mu      sync.Mutex
	module  *tokenModule
	session pkcs11.SessionHandle
	object  pkcs11.ObjectHandle
	public  crypto.PublicKey
	// always is set for keys that want the PIN for each signature (CKA_ALWAYS_AUTHENTICATE).
	always bool
	source Source
	name   string
}

// openToken opens the key that s.Key names, and its certificate if it is on the token and certs has none.
func openToken(s Source, certs []*x509.Certificate) (*Credential, error) {
	u, err := parseTokenURI(s.Key)
	if err != nil {
		return nil, err
	}
	m, err := useModule(u.module)
	if err != nil {
		return nil, err
	}
	k := &tokenKey{module: m, source: s}
	end := func() error { return m.release(u.module) }
	slot, info, err := findToken(m, u)
	if err != nil {
		return nil, errors.Join(err, end())
	}
	k.name = strings.TrimRight(info.Label, " \x00")
	if k.session, err = m.OpenSession(slot, pkcs11.CKF_SERIAL_SESSION); err != nil {
		return nil, errors.Join(fmt.Errorf("%w: token %q: %w", ErrKey, k.name, err), end())
	}
	end = func() error { return errors.Join(m.CloseSession(k.session), m.release(u.module)) }
	if info.Flags&pkcs11.CKF_LOGIN_REQUIRED != 0 {
		if err := k.login(pkcs11.CKU_USER); err != nil {
			return nil, errors.Join(err, end())
		}
	}
	c, err := k.find(u, certs)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("token %q: %w", k.name, err), end())
	}
	if c.schemes, err = k.able(slot, c.schemes); err != nil {
		return nil, errors.Join(err, end())
	}
	c.close = end
	return c, nil
}

// findToken returns the only slot whose token the URI matches.
func findToken(m *tokenModule, u tokenURI) (uint, pkcs11.TokenInfo, error) {
	slots, err := m.GetSlotList(true)
	if err != nil {
		return 0, pkcs11.TokenInfo{}, fmt.Errorf("%w: list of slots: %w", ErrKey, err)
	}
	var found []uint
	var info pkcs11.TokenInfo
	var names []string
	for _, slot := range slots {
		i, err := m.GetTokenInfo(slot)
		if err != nil {
			continue // a token that is being taken out
		}
		match := func(want, have string) bool { return want == "" || want == strings.TrimRight(have, " \x00") }
		names = append(names, strings.TrimRight(i.Label, " \x00"))
		if match(u.token, i.Label) && match(u.serial, i.SerialNumber) && match(u.manufacturer, i.ManufacturerID) && match(u.model, i.Model) &&
			(u.slot < 0 || uint(u.slot) == slot) && i.Flags&pkcs11.CKF_TOKEN_INITIALIZED != 0 {
			found, info = append(found, slot), i
		}
	}
	if len(found) != 1 {
		return 0, info, fmt.Errorf("%w: %d tokens match the PKCS#11 URI, want one; there are %q", ErrKey, len(found), names)
	}
	return found[0], info, nil
}

// login gives the token the PIN.
func (k *tokenKey) login(user uint) error {
	pin, err := k.source.secret(fmt.Sprintf("PIN of token %q", k.name))
	if err != nil {
		return err
	}
	defer clear(pin)
	err = k.module.Login(k.session, user, string(pin))
	var code pkcs11.Error
	switch {
	case err == nil, errors.As(err, &code) && code == pkcs11.CKR_USER_ALREADY_LOGGED_IN:
		return nil
	case errors.As(err, &code) && code == pkcs11.CKR_PIN_INCORRECT:
		return fmt.Errorf("token %q: %w (tokens lock themselves after a few wrong ones)", k.name, ErrPassword)
	case errors.As(err, &code) && code == pkcs11.CKR_PIN_LOCKED:
		return fmt.Errorf("%w: token %q is locked after too many wrong PINs: its administrator can unlock it", ErrKey, k.name)
	}
	return fmt.Errorf("%w: token %q: login: %w", ErrKey, k.name, err)
}

// objects returns the objects of a class that the URI names; id, when not nil, stands in the place of the URI's.
func (k *tokenKey) objects(class uint, u tokenURI, id []byte) ([]pkcs11.ObjectHandle, error) {
	template := []*pkcs11.Attribute{pkcs11.NewAttribute(pkcs11.CKA_CLASS, class)}
	switch {
	case id != nil:
		template = append(template, pkcs11.NewAttribute(pkcs11.CKA_ID, id))
	case u.id != "":
		template = append(template, pkcs11.NewAttribute(pkcs11.CKA_ID, []byte(u.id)))
	}
	if id == nil && u.object != "" {
		template = append(template, pkcs11.NewAttribute(pkcs11.CKA_LABEL, []byte(u.object)))
	}
	if err := k.module.FindObjectsInit(k.session, template); err != nil {
		return nil, err
	}
	found, _, err := k.module.FindObjects(k.session, 64)
	return found, errors.Join(err, k.module.FindObjectsFinal(k.session))
}

// attribute returns an attribute, nil where the token has none.
func (k *tokenKey) attribute(o pkcs11.ObjectHandle, kind uint) []byte {
	a, err := k.module.GetAttributeValue(k.session, o, []*pkcs11.Attribute{pkcs11.NewAttribute(kind, nil)})
	if err != nil || len(a) != 1 {
		return nil
	}
	return a[0].Value
}

// find finds the private key and its certificates.
func (k *tokenKey) find(u tokenURI, certs []*x509.Certificate) (*Credential, error) {
	keys, err := k.objects(pkcs11.CKO_PRIVATE_KEY, u, nil)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrKey, err)
	}
	if len(keys) != 1 {
		return nil, fmt.Errorf("%w: %d private keys match the PKCS#11 URI, want one: add id= or object=", ErrKey, len(keys))
	}
	k.object = keys[0]
	if a := k.attribute(k.object, pkcs11.CKA_ALWAYS_AUTHENTICATE); len(a) == 1 && a[0] != 0 {
		k.always = true
	}
	onToken := certs == nil
	if onToken {
		own := k.attribute(k.object, pkcs11.CKA_ID)
		if len(own) == 0 {
			return nil, fmt.Errorf("%w: the key on the token has no id to find its certificate by: name a certificate file", ErrKey)
		}
		objects, err := k.objects(pkcs11.CKO_CERTIFICATE, u, own)
		if err != nil {
			return nil, err
		}
		for _, o := range objects {
			c, err := x509.ParseCertificate(k.attribute(o, pkcs11.CKA_VALUE))
			if err == nil {
				certs = append(certs, c)
			}
		}
		if len(certs) == 0 {
			return nil, fmt.Errorf("%w: the token has no certificate for the key: name a certificate file", ErrKey)
		}
	}
	// The token does not show every key's public half; the first certificate is taken for it, and each signature is verified.
	k.public = certs[0].PublicKey
	if n := k.attribute(k.object, pkcs11.CKA_MODULUS); len(n) > 0 {
		for _, c := range certs {
			if r, ok := c.PublicKey.(*rsa.PublicKey); ok && slices.Equal(r.N.Bytes(), trimZeros(n)) {
				k.public = c.PublicKey
			}
		}
		if r, ok := k.public.(*rsa.PublicKey); !ok || !slices.Equal(r.N.Bytes(), trimZeros(n)) {
			return nil, ErrMismatch
		}
	}
	return New(k, certs)
}

func trimZeros(b []byte) []byte {
	for len(b) > 0 && b[0] == 0 {
		b = b[1:]
	}
	return b
}

// mechanism returns the mechanism for a scheme, nil for none.
func mechanism(s ike.SignatureScheme) *pkcs11.Mechanism {
	switch s.Algorithm {
	case ike.RSAPKCS1:
		return pkcs11.NewMechanism(pkcs11.CKM_RSA_PKCS, nil)
	case ike.RSAPSS:
		var hash, mgf uint
		switch s.Hash {
		case crypto.SHA256:
			hash, mgf = pkcs11.CKM_SHA256, pkcs11.CKG_MGF1_SHA256
		case crypto.SHA384:
			hash, mgf = pkcs11.CKM_SHA384, pkcs11.CKG_MGF1_SHA384
		case crypto.SHA512:
			hash, mgf = pkcs11.CKM_SHA512, pkcs11.CKG_MGF1_SHA512
		default:
			return nil
		}
		return pkcs11.NewMechanism(pkcs11.CKM_RSA_PKCS_PSS, pkcs11.NewPSSParams(hash, mgf, uint(s.Hash.Size())))
	case ike.ECDSA:
		return pkcs11.NewMechanism(pkcs11.CKM_ECDSA, nil)
	case ike.Ed25519:
		return pkcs11.NewMechanism(ckmEdDSA, nil)
	}
	return nil
}

// able returns the schemes that the token has mechanisms for.
func (k *tokenKey) able(slot uint, schemes []ike.SignatureScheme) ([]ike.SignatureScheme, error) {
	list, err := k.module.GetMechanismList(slot)
	if err != nil {
		return nil, fmt.Errorf("%w: token %q: list of mechanisms: %w", ErrKey, k.name, err)
	}
	schemes = slices.DeleteFunc(slices.Clone(schemes), func(s ike.SignatureScheme) bool {
		m := mechanism(s)
		return m == nil || !slices.ContainsFunc(list, func(have *pkcs11.Mechanism) bool { return have.Mechanism == m.Mechanism })
	})
	if len(schemes) == 0 {
		return nil, fmt.Errorf("%w: token %q makes no signature that IKE has with this key", ErrKey, k.name)
	}
	return schemes, nil
}

// Public implements crypto.Signer.
func (k *tokenKey) Public() crypto.PublicKey { return k.public }

// digestInfo are the octets in front of a hash that PKCS #1 v1.5 signs (RFC 8017 §9.2).
var digestInfo = map[crypto.Hash][]byte{
	crypto.SHA256: {0x30, 0x31, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01, 0x05, 0x00, 0x04, 0x20},
	crypto.SHA384: {0x30, 0x41, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x02, 0x05, 0x00, 0x04, 0x30},
	crypto.SHA512: {0x30, 0x51, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x03, 0x05, 0x00, 0x04, 0x40},
}

// Sign implements crypto.Signer.
func (k *tokenKey) Sign(_ io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	s, err := schemeOf(k.public, opts)
	if err != nil {
		return nil, err
	}
	m := mechanism(s)
	if m == nil {
		return nil, fmt.Errorf("%w: %s", ErrScheme, describe(s))
	}
	if s.Algorithm == ike.RSAPKCS1 {
		digest = append(append([]byte(nil), digestInfo[s.Hash]...), digest...)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if err := k.module.SignInit(k.session, []*pkcs11.Mechanism{m}, k.object); err != nil {
		return nil, fmt.Errorf("token %q: %w", k.name, err)
	}
	if k.always {
		if err := k.login(pkcs11.CKU_CONTEXT_SPECIFIC); err != nil {
			return nil, err
		}
	}
	signature, err := k.module.Sign(k.session, digest)
	if err != nil {
		return nil, fmt.Errorf("token %q: %w", k.name, err)
	}
	if s.Algorithm == ike.ECDSA {
		return derECDSA(signature)
	}
	return signature, nil
}
