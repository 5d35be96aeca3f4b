//go:build !windows

package credential

import (
	"bytes"
	"crypto"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-tpm/tpm2"
	"github.com/google/go-tpm/tpm2/transport"

	"mipvpn/ipsec/ike"
	"mipvpn/ipsec/ike/message"
	"mipvpn/ipsec/pki/pkitest"
)

// startTPM starts an emulated TPM and returns its socket.
func startTPM(t *testing.T) string {
	t.Helper()
	if _, err := exec.LookPath("swtpm"); err != nil {
		t.Skip("swtpm is not installed (Debian: swtpm)")
	}
	dir := shortDir(t)
	socket := filepath.Join(dir, "s")
	t.Cleanup(start(t, exec.Command("swtpm", "socket", "--tpm2", "--tpmstate", "dir="+dir, "--server", "type=unixio,path="+socket,
		"--flags", "not-need-init,startup-clear"), "unix", socket))
	return socket
}

// shortDir makes a directory with a short name: the paths of sockets are short.
func shortDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "tpm")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// start starts a program and waits until somebody listens; the function returned ends it.
func start(t *testing.T, c *exec.Cmd, network, address string) (end func()) {
	t.Helper()
	var said bytes.Buffer
	c.Stderr = &said
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	end = func() {
		if err := c.Process.Kill(); err != nil {
			t.Error(err)
		}
		_ = c.Wait() // killed
	}
	for begin := time.Now(); ; {
		if conn, err := net.Dial(network, address); err == nil {
			conn.Close()
			return end
		}
		if time.Since(begin) > 20*time.Second {
			end()
			t.Fatalf("%v does not answer: %s", c.Args, &said)
		}
	}
}

// makeKey makes a key below the owner's primary key of the given template and returns the content of its key file. A handle that is
// not 0 also makes it persistent.
func makeKey(t *testing.T, socket string, public tpm2.TPMTPublic, password string, coordinates int, handle tpm2.TPMHandle) (tssKey, crypto.PublicKey) {
	t.Helper()
	device, err := openDevice(socket)
	if err != nil {
		t.Fatal(err)
	}
	defer device.Close()
	template := tpm2.ECCSRKTemplate
	template.Unique = tpm2.NewTPMUPublicID(tpm2.TPMAlgECC, &tpm2.TPMSECCPoint{
		X: tpm2.TPM2BECCParameter{Buffer: make([]byte, coordinates)}, Y: tpm2.TPM2BECCParameter{Buffer: make([]byte, coordinates)}})
	primary, err := tpm2.CreatePrimary{PrimaryHandle: tpm2.TPMRHOwner, InPublic: tpm2.New2B(template)}.Execute(device)
	if err != nil {
		t.Fatal(err)
	}
	defer flush(t, device, primary.ObjectHandle)
	parent := tpm2.AuthHandle{Handle: primary.ObjectHandle, Name: primary.Name, Auth: tpm2.PasswordAuth(nil)}
	made, err := tpm2.Create{ParentHandle: parent, InPublic: tpm2.New2B(public), InSensitive: tpm2.TPM2BSensitiveCreate{
		Sensitive: &tpm2.TPMSSensitiveCreate{UserAuth: tpm2.TPM2BAuth{Buffer: []byte(password)}}}}.Execute(device)
	if err != nil {
		t.Fatal(err)
	}
	contents, err := made.OutPublic.Contents()
	if err != nil {
		t.Fatal(err)
	}
	key, err := tpm2.Pub(*contents)
	if err != nil {
		t.Fatal(err)
	}
	if handle != 0 {
		loaded, err := tpm2.Load{ParentHandle: parent, InPrivate: made.OutPrivate, InPublic: made.OutPublic}.Execute(device)
		if err != nil {
			t.Fatal(err)
		}
		defer flush(t, device, loaded.ObjectHandle)
		evict := tpm2.EvictControl{Auth: tpm2.TPMRHOwner, ObjectHandle: &tpm2.NamedHandle{Handle: loaded.ObjectHandle, Name: loaded.Name}, PersistentHandle: handle}
		if _, err := evict.Execute(device); err != nil {
			t.Fatal(err)
		}
	}
	return tssKey{emptyAuth: password == "", parent: uint32(tpm2.TPMRHOwner), public: tpm2.Marshal(made.OutPublic), private: tpm2.Marshal(made.OutPrivate)}, key
}

func flush(t *testing.T, device transport.TPM, handle tpm2.TPMHandle) {
	t.Helper()
	if _, err := (tpm2.FlushContext{FlushHandle: handle}).Execute(device); err != nil {
		t.Error(err)
	}
}

// encode writes a key file.
func (k tssKey) encode() []byte {
	fields := []any{oidLoadableKey}
	if k.emptyAuth {
		fields = append(fields, asn1.RawValue{Class: asn1.ClassContextSpecific, IsCompound: true, Bytes: []byte{1, 1, 0xff}})
	}
	var body []byte
	for _, f := range append(fields, int64(k.parent), k.public, k.private) {
		b, err := asn1.Marshal(f)
		if err != nil {
			panic(err)
		}
		body = append(body, b...)
	}
	der, err := asn1.Marshal(asn1.RawValue{Tag: asn1.TagSequence, IsCompound: true, Bytes: body})
	if err != nil {
		panic(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: tssBlock, Bytes: der})
}

// Templates of keys for signatures.
func signingKey(kind tpm2.TPMIAlgPublic, parms tpm2.TPMUPublicParms) tpm2.TPMTPublic {
	return tpm2.TPMTPublic{Type: kind, NameAlg: tpm2.TPMAlgSHA256, Parameters: parms,
		ObjectAttributes: tpm2.TPMAObject{FixedTPM: true, FixedParent: true, SensitiveDataOrigin: true, UserWithAuth: true, SignEncrypt: true, NoDA: true}}
}

func eccKey(curve tpm2.TPMECCCurve) tpm2.TPMTPublic {
	return signingKey(tpm2.TPMAlgECC, tpm2.NewTPMUPublicParms(tpm2.TPMAlgECC, &tpm2.TPMSECCParms{CurveID: curve}))
}

func rsaKey(scheme tpm2.TPMTRSAScheme) tpm2.TPMTPublic {
	return signingKey(tpm2.TPMAlgRSA, tpm2.NewTPMUPublicParms(tpm2.TPMAlgRSA, &tpm2.TPMSRSAParms{KeyBits: 2048, Scheme: scheme}))
}

// Shows: IKE-2
func TestTPM(t *testing.T) {
	socket := startTPM(t)
	root := pkitest.NewRoot("root", now, pkitest.P256)
	pss := tpm2.TPMTRSAScheme{Scheme: tpm2.TPMAlgRSAPSS, Details: tpm2.NewTPMUAsymScheme(tpm2.TPMAlgRSAPSS, &tpm2.TPMSSigSchemeRSAPSS{HashAlg: tpm2.TPMAlgSHA384})}
	for name, c := range map[string]struct {
		public      tpm2.TPMTPublic
		password    string
		coordinates int
		handle      tpm2.TPMHandle
		want        ike.SignatureScheme
	}{
		"P-256":            {eccKey(tpm2.TPMECCNistP256), "", 0, 0, ike.SignatureScheme{Method: message.AuthDigitalSignature, Algorithm: ike.ECDSA, Hash: crypto.SHA256}},
		"P-384":            {eccKey(tpm2.TPMECCNistP384), "", 32, 0, ike.SignatureScheme{Method: message.AuthDigitalSignature, Algorithm: ike.ECDSA, Hash: crypto.SHA384}},
		"RSA":              {rsaKey(tpm2.TPMTRSAScheme{}), "", 0, 0, ike.SignatureScheme{Method: message.AuthDigitalSignature, Algorithm: ike.RSAPKCS1, Hash: crypto.SHA256}},
		"RSA of one kind":  {rsaKey(pss), "", 0, 0, ike.SignatureScheme{}},
		"with password":    {eccKey(tpm2.TPMECCNistP256), "geheim", 0, 0, ike.SignatureScheme{Method: message.AuthDigitalSignature, Algorithm: ike.ECDSA, Hash: crypto.SHA256}},
		"persistent P-256": {eccKey(tpm2.TPMECCNistP256), "", 0, 0x81010001, ike.SignatureScheme{Method: message.AuthDigitalSignature, Algorithm: ike.ECDSA, Hash: crypto.SHA256}},
	} {
		t.Run(name, func(t *testing.T) {
			if c.public.Type == tpm2.TPMAlgRSA && c.want == (ike.SignatureScheme{}) {
				c.want = ike.SignatureScheme{Method: message.AuthDigitalSignature, Algorithm: ike.RSAPSS, Hash: crypto.SHA384}
			}
			file, public := makeKey(t, socket, c.public, c.password, c.coordinates, c.handle)
			leaf := root.IssueFor(publicOnly{public}, []string{laptop})
			s := source(write(t, "cert.pem", pkitest.PEM(leaf.Certificate)), write(t, "key.pem", file.encode()))
			s.Device = socket
			if c.handle != 0 {
				s.Key = "tpm2:0x81010001"
			}
			if c.password != "" {
				if _, err := Load(s); !errors.Is(err, ErrNobodyToAsk) {
					t.Errorf("error %v, want %v", err, ErrNobodyToAsk)
				}
				s.Ask = func(string) ([]byte, error) { return []byte("falsch"), nil }
				if _, err := Load(s); !errors.Is(err, ErrPassword) {
					t.Errorf("error %v, want %v", err, ErrPassword)
				}
				s.Ask = func(string) ([]byte, error) { return []byte(c.password), nil }
			}
			got, err := Load(s)
			if err != nil {
				t.Fatal(err)
			}
			exercise(t, got)
			found := false
			for _, x := range got.Certificates().Schemes {
				found = found || x == c.want
			}
			if !found {
				t.Errorf("schemes %+v, want %+v among them", got.Certificates().Schemes, c.want)
			}
			if err := got.Close(); err != nil {
				t.Error(err)
			}
			// Another certificate's key is not taken.
			s.Certificate = write(t, "other.pem", pkitest.PEM(root.Issue(pkitest.P256, nil).Certificate))
			if _, err := Load(s); !errors.Is(err, ErrMismatch) {
				t.Errorf("error %v, want %v", err, ErrMismatch)
			}
		})
	}
}

// Nothing may stay loaded in a TPM, which has room for a few keys.
func TestTPMKeysAreFlushed(t *testing.T) {
	socket := startTPM(t)
	root := pkitest.NewRoot("root", now, pkitest.P256)
	file, public := makeKey(t, socket, eccKey(tpm2.TPMECCNistP256), "", 32, 0)
	s := source(write(t, "cert.pem", pkitest.PEM(root.IssueFor(publicOnly{public}, []string{laptop}).Certificate)), write(t, "key.pem", file.encode()))
	s.Device = socket
	for range 10 {
		c, err := Load(s)
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// publicOnly is a key of which only the public half is known.
type publicOnly struct{ public crypto.PublicKey }

func (p publicOnly) Public() crypto.PublicKey { return p.public }
func (p publicOnly) Sign(_ io.Reader, _ []byte, _ crypto.SignerOpts) ([]byte, error) {
	return nil, errors.New("only the public half is known")
}
