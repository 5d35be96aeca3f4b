package eap

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"math/big"
	"sync"
	"testing"
	"time"
)

// keyPair is a certificate with its key, which a test driver signs with.
type keyPair struct {
	cert Certificate
	key  crypto.Signer
}

// newPair makes a self-signed certificate; extra octets make it large.
func newPair(t testing.TB, key crypto.Signer, name string, extra int) keyPair {
	t.Helper()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotBefore: time.Unix(1700000000, 0), NotAfter: time.Unix(2700000000, 0),
	}
	if extra > 0 {
		template.ExtraExtensions = []pkix.Extension{{Id: []int{1, 3, 6, 1, 4, 1, 99999, 1}, Value: bytes.Repeat([]byte{4}, extra)}}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return keyPair{cert: Certificate{Chain: [][]byte{der}, Public: key.Public()}, key: key}
}

func newECDSA(t testing.TB) crypto.Signer {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

var rsaKey = sync.OnceValues(func() (*rsa.PrivateKey, error) { return rsa.GenerateKey(rand.Reader, 2048) })

func newRSA(t testing.TB) crypto.Signer {
	t.Helper()
	k, err := rsaKey()
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func newEd25519(t testing.TB) crypto.Signer {
	t.Helper()
	_, k, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// driver answers a machine's questions at once.
type driver struct {
	password func(PasswordWanted) (Secret, error)
	key      crypto.Signer
	trust    func(TrustWanted) error
	asked    []Event
	notified []string
}

func passwords(p ...string) func(PasswordWanted) (Secret, error) {
	return func(PasswordWanted) (Secret, error) {
		s := Secret{Password: []byte(p[0])}
		if len(p) > 1 {
			p = p[1:]
		}
		return s, nil
	}
}

// drive polls events and answers until there is a message to send or the end.
func (d *driver) drive(t testing.TB, m *Machine) (message []byte, end *Finished) {
	t.Helper()
	for {
		e, ok := m.PollEvent()
		if !ok {
			return message, end
		}
		var err error
		switch e := e.(type) {
		case Send:
			message = e.Message
		case Finished:
			end = &e
			message = e.Message
		case Notified:
			d.notified = append(d.notified, e.Text)
		case PasswordWanted:
			d.asked = append(d.asked, e)
			s, refuse := d.password(e)
			err = m.AnswerPassword(s, refuse)
		case SignatureWanted:
			d.asked = append(d.asked, e)
			sig, refuse := d.key.Sign(rand.Reader, e.Digest, e.Options)
			err = m.AnswerSignature(sig, refuse)
		case TrustWanted:
			d.asked = append(d.asked, e)
			var refuse error
			if d.trust != nil {
				refuse = d.trust(e)
			}
			err = m.AnswerTrust(refuse)
		}
		if err != nil {
			t.Fatalf("answer to %T: %v", e, err)
		}
	}
}

// tamper changes a message on its way; nil keeps it.
type tamper func(toPeer bool, n int, message []byte) []byte

// converse lets a peer and a server talk to the end and returns what each says at the end, and how many messages there were.
func converse(t testing.TB, pc PeerConfig, sc ServerConfig, pd, sd *driver, change tamper) (peerEnd, serverEnd Finished, n int) {
	t.Helper()
	pc.Rand, sc.Rand = rand.Reader, rand.Reader
	peer, err := NewPeer(pc)
	if err != nil {
		t.Fatal(err)
	}
	defer peer.Close()
	server, err := NewServer(sc)
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	if err := server.HandleMessage(nil); err != nil {
		t.Fatal(err)
	}
	var pe, se *Finished
	for n = 0; n < 2*maxRounds+2; {
		message, end := sd.drive(t, server)
		if end != nil {
			se = end
		}
		if message == nil || pe != nil {
			break
		}
		if change != nil {
			message = change(true, n, message)
		}
		n++
		if err := peer.HandleMessage(message); err != nil {
			t.Fatalf("peer: %v", err)
		}
		if message, end = pd.drive(t, peer); end != nil {
			pe = end
		}
		if message == nil || se != nil {
			break
		}
		if change != nil {
			message = change(false, n, message)
		}
		n++
		if err := server.HandleMessage(message); err != nil {
			t.Fatalf("server: %v", err)
		}
	}
	if pe == nil {
		pe = &Finished{Err: errUnfinished}
	}
	if se == nil {
		se = &Finished{Err: errUnfinished}
	}
	return *pe, *se, n
}

var errUnfinished = errors.New("test: not finished")

// agree checks that both ends have succeeded with the same key.
func agree(t testing.TB, p, s Finished) {
	t.Helper()
	if p.Err != nil || s.Err != nil {
		t.Fatalf("want success, found peer: %v, server: %v", p.Err, s.Err)
	}
	if len(p.MSK) != mskSize || !bytes.Equal(p.MSK, s.MSK) || bytes.Equal(p.MSK, make([]byte, mskSize)) {
		t.Fatalf("want the same key of %d octets, found %d and %d octets, equal: %v", mskSize, len(p.MSK), len(s.MSK), bytes.Equal(p.MSK, s.MSK))
	}
	if p.Method != s.Method || p.Method == 0 {
		t.Fatalf("want the same method, found %v and %v", p.Method, s.Method)
	}
	if want := []byte{byte(Success), s.Message[1], 0, 4}; !bytes.Equal(s.Message, want) {
		t.Fatalf("want EAP-Success %x, found %x", want, s.Message)
	}
}
