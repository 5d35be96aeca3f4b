package credential

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/google/go-tpm/tpm2"
	"github.com/google/go-tpm/tpm2/transport"

	"mipvpn/ipsec/ike"
)

// defaultTPM is the device behind the kernel's resource manager.
const defaultTPM = "/dev/tpmrm0"

// tpmKey is a private key in a TPM.
type tpmKey struct {
	mu     sync.Mutex
	device transport.TPMCloser
	handle tpm2.TPMHandle
	name   tpm2.TPM2BName
	public crypto.PublicKey
	auth   []byte
	loaded bool // to be flushed
}

// openPersistent opens the key "tpm2:0x81000001".
func openPersistent(s Source, certs []*x509.Certificate) (*Credential, error) {
	n, err := strconv.ParseUint(strings.TrimPrefix(s.Key, "tpm2:"), 0, 32)
	if err != nil || n>>24 != 0x81 {
		return nil, fmt.Errorf(`%w: %.60q: want "tpm2:" and a persistent handle, from 0x81000000 to 0x81ffffff`, ErrKey, s.Key)
	}
	return openTPM(s, certs, func(k *tpmKey) error {
		k.handle = tpm2.TPMHandle(n)
		return nil
	})
}

// openFile opens the key of a key file.
func openFile(s Source, der []byte, certs []*x509.Certificate) (*Credential, error) {
	file, err := parseTSS(der)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrKey, err)
	}
	return openTPM(s, certs, func(k *tpmKey) error {
		if !file.emptyAuth {
			if k.auth, err = s.secret("password of the TPM key " + s.Key); err != nil {
				return err
			}
		}
		return k.load(file)
	})
}

// openTPM opens the device and the key, and finds out what the key makes.
func openTPM(s Source, certs []*x509.Certificate, open func(*tpmKey) error) (*Credential, error) {
	path := s.Device
	if path == "" {
		path = defaultTPM
	}
	if len(certs) == 0 {
		return nil, fmt.Errorf("%w: a TPM has no certificates: name a certificate file", ErrKey)
	}
	device, err := openDevice(path)
	if err != nil {
		return nil, fmt.Errorf("%w: TPM %s: %w", ErrKey, path, err)
	}
	k := &tpmKey{device: device}
	c, err := k.prepare(certs, open)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("TPM %s: %w", path, err), k.close())
	}
	c.close = k.close
	return c, nil
}

func (k *tpmKey) prepare(certs []*x509.Certificate, open func(*tpmKey) error) (*Credential, error) {
	if err := open(k); err != nil {
		return nil, err
	}
	r, err := tpm2.ReadPublic{ObjectHandle: k.handle}.Execute(k.device)
	if err != nil {
		return nil, fmt.Errorf("%w: handle %#x: %w", ErrKey, uint32(k.handle), err)
	}
	k.name = r.Name
	public, err := r.OutPublic.Contents()
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrKey, err)
	}
	if !public.ObjectAttributes.SignEncrypt || public.ObjectAttributes.Restricted {
		return nil, fmt.Errorf("%w: handle %#x is not a key for signatures of any data (sign set, restricted clear)", ErrKey, uint32(k.handle))
	}
	if k.public, err = tpm2.Pub(*public); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrKey, err)
	}
	c, err := New(k, certs)
	if err != nil {
		return nil, err
	}
	c.schemes = slices.DeleteFunc(c.schemes, func(x ike.SignatureScheme) bool { return !fits(public, k.public, x) })
	// How long the salt of PSS is, each TPM decides: one signature tells whether it is as long as IKE wants it. It also tells
	// that the password is right.
	var failed error
	c.schemes = slices.DeleteFunc(c.schemes, func(x ike.SignatureScheme) bool {
		if errors.Is(failed, ErrPassword) {
			return true
		}
		if _, err := c.Sign(x, []byte("is this signature one that IKE can use?")); err != nil {
			failed = err
			return true
		}
		return false
	})
	if len(c.schemes) == 0 {
		return nil, errors.Join(fmt.Errorf("%w: this key makes no signature that IKE has", ErrKey), failed)
	}
	return c, nil
}

// tpmHash returns the TPM's number of a hash function.
func tpmHash(h crypto.Hash) tpm2.TPMIAlgHash {
	switch h {
	case crypto.SHA384:
		return tpm2.TPMAlgSHA384
	case crypto.SHA512:
		return tpm2.TPMAlgSHA512
	}
	return tpm2.TPMAlgSHA256
}

// fits reports whether the key, which may be bound to one scheme and hash, can make x. Of ECDSA only the hash of the curve's size
// is taken: TPMs differ in what else they take.
func fits(public *tpm2.TPMTPublic, key crypto.PublicKey, x ike.SignatureScheme) bool {
	switch k := key.(type) {
	case *rsa.PublicKey:
		p, err := public.Parameters.RSADetail()
		if err != nil {
			return false
		}
		switch p.Scheme.Scheme {
		case tpm2.TPMAlgNull:
			return true
		case tpm2.TPMAlgRSASSA:
			d, err := p.Scheme.Details.RSASSA()
			return err == nil && x.Algorithm == ike.RSAPKCS1 && d.HashAlg == tpmHash(x.Hash)
		case tpm2.TPMAlgRSAPSS:
			d, err := p.Scheme.Details.RSAPSS()
			return err == nil && x.Algorithm == ike.RSAPSS && d.HashAlg == tpmHash(x.Hash)
		}
		return false
	case *ecdsa.PublicKey:
		p, err := public.Parameters.ECCDetail()
		if err != nil || x.Hash.Size() != min((k.Curve.Params().BitSize+7)/8, crypto.SHA512.Size()) {
			return false
		}
		switch p.Scheme.Scheme {
		case tpm2.TPMAlgNull:
			return true
		case tpm2.TPMAlgECDSA:
			d, err := p.Scheme.Details.ECDSA()
			return err == nil && d.HashAlg == tpmHash(x.Hash)
		}
	}
	return false
}

// load loads a key file below its parent: a persistent key, or the primary key that the hierarchy makes of a template.
func (k *tpmKey) load(file tssKey) error {
	private, err := tpm2.Unmarshal[tpm2.TPM2BPrivate](file.private)
	if err != nil {
		return fmt.Errorf("%w: privkey of the TPM key file: %w", ErrKey, err)
	}
	public, err := tpm2.Unmarshal[tpm2.TPM2BPublic](file.public)
	if err != nil {
		return fmt.Errorf("%w: pubkey of the TPM key file: %w", ErrKey, err)
	}
	if file.parent>>24 == 0x81 {
		r, err := tpm2.ReadPublic{ObjectHandle: tpm2.TPMHandle(file.parent)}.Execute(k.device)
		if err != nil {
			return fmt.Errorf("%w: parent %#x of the TPM key file: %w", ErrKey, file.parent, err)
		}
		return k.loadBelow(tpm2.TPMHandle(file.parent), r.Name, *private, *public)
	}
	if file.parent>>24 != 0x40 {
		return fmt.Errorf("%w: parent %#x of the TPM key file: want a hierarchy or a persistent key", ErrKey, file.parent)
	}
	// Programs differ in whether the template's point has no coordinates or such of 32 zeros, which makes another key.
	var errs []error
	for _, coordinates := range [][]byte{nil, make([]byte, 32)} {
		template := tpm2.ECCSRKTemplate
		template.Unique = tpm2.NewTPMUPublicID(tpm2.TPMAlgECC, &tpm2.TPMSECCPoint{
			X: tpm2.TPM2BECCParameter{Buffer: coordinates}, Y: tpm2.TPM2BECCParameter{Buffer: coordinates},
		})
		primary, err := tpm2.CreatePrimary{PrimaryHandle: tpm2.TPMHandle(file.parent), InPublic: tpm2.New2B(template)}.Execute(k.device)
		if err != nil {
			return fmt.Errorf("%w: primary key of the TPM's hierarchy %#x: %w", ErrKey, file.parent, err)
		}
		err = k.loadBelow(primary.ObjectHandle, primary.Name, *private, *public)
		_, flush := tpm2.FlushContext{FlushHandle: primary.ObjectHandle}.Execute(k.device)
		if err == nil {
			return flush
		}
		errs = append(errs, err, flush)
	}
	return errors.Join(errs...)
}

func (k *tpmKey) loadBelow(parent tpm2.TPMHandle, name tpm2.TPM2BName, private tpm2.TPM2BPrivate, public tpm2.TPM2BPublic) error {
	r, err := tpm2.Load{
		ParentHandle: tpm2.AuthHandle{Handle: parent, Name: name, Auth: tpm2.PasswordAuth(nil)}, InPrivate: private, InPublic: public,
	}.Execute(k.device)
	if err != nil {
		return fmt.Errorf("%w: the TPM does not load the key file: was it made by this TPM? %w", ErrKey, err)
	}
	k.handle, k.loaded = r.ObjectHandle, true
	return nil
}

// Public implements crypto.Signer.
func (k *tpmKey) Public() crypto.PublicKey { return k.public }

// Sign implements crypto.Signer.
func (k *tpmKey) Sign(_ io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	s, err := schemeOf(k.public, opts)
	if err != nil {
		return nil, err
	}
	hash := tpmHash(s.Hash)
	var scheme tpm2.TPMTSigScheme
	switch s.Algorithm {
	case ike.RSAPSS:
		scheme = tpm2.TPMTSigScheme{Scheme: tpm2.TPMAlgRSAPSS, Details: tpm2.NewTPMUSigScheme(tpm2.TPMAlgRSAPSS, &tpm2.TPMSSchemeHash{HashAlg: hash})}
	case ike.RSAPKCS1:
		scheme = tpm2.TPMTSigScheme{Scheme: tpm2.TPMAlgRSASSA, Details: tpm2.NewTPMUSigScheme(tpm2.TPMAlgRSASSA, &tpm2.TPMSSchemeHash{HashAlg: hash})}
	case ike.ECDSA:
		scheme = tpm2.TPMTSigScheme{Scheme: tpm2.TPMAlgECDSA, Details: tpm2.NewTPMUSigScheme(tpm2.TPMAlgECDSA, &tpm2.TPMSSchemeHash{HashAlg: hash})}
	case ike.Ed25519:
		return nil, fmt.Errorf("%w: TPMs make no Ed25519", ErrScheme)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	auth := tpm2.PasswordAuth(nil)
	if len(k.auth) > 0 {
		auth = tpm2.HMAC(tpm2.TPMAlgSHA256, 16, tpm2.Auth(k.auth)) // the password does not go over the bus
	}
	r, err := tpm2.Sign{
		KeyHandle: tpm2.AuthHandle{Handle: k.handle, Name: k.name, Auth: auth}, Digest: tpm2.TPM2BDigest{Buffer: digest}, InScheme: scheme,
		Validation: tpm2.TPMTTKHashCheck{Tag: tpm2.TPMSTHashCheck},
	}.Execute(k.device)
	switch {
	case errors.Is(err, tpm2.TPMRCAuthFail), errors.Is(err, tpm2.TPMRCBadAuth):
		return nil, fmt.Errorf("TPM key: %w", ErrPassword)
	case errors.Is(err, tpm2.TPMRCLockout):
		return nil, fmt.Errorf("%w: the TPM is locked after too many wrong passwords: wait, or clear its lockout", ErrKey)
	case err != nil:
		return nil, fmt.Errorf("TPM: %w", err)
	}
	return tpmSignature(s.Algorithm, r.Signature)
}

// tpmSignature returns a TPM's signature as crypto.Signer has it.
func tpmSignature(a ike.SignatureAlgorithm, sig tpm2.TPMTSignature) ([]byte, error) {
	switch a {
	case ike.RSAPSS:
		r, err := sig.Signature.RSAPSS()
		if err != nil {
			return nil, err
		}
		return r.Sig.Buffer, nil
	case ike.RSAPKCS1:
		r, err := sig.Signature.RSASSA()
		if err != nil {
			return nil, err
		}
		return r.Sig.Buffer, nil
	case ike.ECDSA, ike.Ed25519:
	}
	r, err := sig.Signature.ECDSA()
	if err != nil {
		return nil, err
	}
	n := max(len(r.SignatureR.Buffer), len(r.SignatureS.Buffer))
	raw := make([]byte, 2*n)
	copy(raw[n-len(r.SignatureR.Buffer):n], r.SignatureR.Buffer)
	copy(raw[2*n-len(r.SignatureS.Buffer):], r.SignatureS.Buffer)
	return derECDSA(raw)
}

// close flushes what was loaded and closes the device.
func (k *tpmKey) close() error {
	clear(k.auth)
	var err error
	if k.loaded {
		_, err = tpm2.FlushContext{FlushHandle: k.handle}.Execute(k.device)
	}
	return errors.Join(err, k.device.Close())
}
