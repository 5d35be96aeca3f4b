package eap

import "crypto"

// Event is what a Machine tells its driver. The types are those of this file.
type Event interface{ event() }

// Send is an EAP message for the other end.
type Send struct{ Message []byte }

// PasswordWanted asks for a password; Machine.AnswerPassword brings it, at once or later.
type PasswordWanted struct {
	// User is whose password is wanted: the peer's configured name, or to a server the name that the peer claims, which is
	// true only once Finished says so. It may hold any octets.
	User string
	// Again is set for a peer whose password was wrong: a person is to be asked again, a stored one is not worth a second try.
	Again bool
	// Text is what the server says about the refusal, for the user; without control characters.
	Text string
}

// SignatureWanted asks for a signature with the private key of the configured certificate; Machine.AnswerSignature brings
// it, at once or later.
type SignatureWanted struct {
	// Digest is what is to be signed: what crypto.Signer.Sign takes. Options are its options.
	Digest  []byte
	Options crypto.SignerOpts
}

// TrustWanted asks whether the other end's certificate is trusted and proves the right name; Machine.AnswerTrust answers, at
// once or later. The machine has not checked anything of it. The other end proves that it has the key in the handshake.
type TrustWanted struct {
	// Chain are X.509 certificates in DER, the leaf first, then in the other end's order.
	Chain [][]byte
	// OCSP is a stapled OCSP response in DER, empty for none.
	OCSP []byte
	// Identity is, for a server, the identity that the peer claims; empty for a peer, whose driver knows the name it expects.
	Identity string
}

// Notified is a message for the user (RFC 3748 §5.2), without control characters.
type Notified struct{ Text string }

// Finished is the last event.
type Finished struct {
	// Message is the server's EAP-Success or EAP-Failure, which is still to be sent; nil when there is none.
	Message []byte
	// MSK is the master session key in 64 octets (RFC 3748 §7.10), nil when Err is set. The receiver wipes it.
	MSK []byte
	// Method is the method that was agreed on, 0 for none.
	Method Type
	// Identity is, for a server, the name that the method has authenticated: the user's in MS-CHAP and PAP, otherwise the
	// claimed one, which TrustWanted was asked about.
	Identity string
	// Err is nil for success. It wraps one of this package's errors, or what an answer brought.
	Err error
}

func (Send) event()            {}
func (PasswordWanted) event()  {}
func (SignatureWanted) event() {}
func (TrustWanted) event()     {}
func (Notified) event()        {}
func (Finished) event()        {}
