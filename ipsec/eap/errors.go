package eap

import "errors"

// Reasons for the end of a conversation, beside ErrMalformed.
var (
	// ErrConfig is wrapped by the errors of NewPeer and NewServer.
	ErrConfig = errors.New("eap: configuration")
	// ErrRejected tells a peer that the server sent EAP-Failure, and a server that it does.
	ErrRejected = errors.New("eap: authentication was refused")
	// ErrPasswordWrong tells that the password did not fit the user's name.
	ErrPasswordWrong = errors.New("eap: user name or password is wrong")
	// ErrPasswordExpired tells that the server wants the password changed first (E=648).
	ErrPasswordExpired = errors.New("eap: the password has expired and must be changed by other means")
	// ErrAccount tells that the account may not be used: disabled, restricted hours, no permission (E=646, 647, 649).
	ErrAccount = errors.New("eap: the account may not be used now")
	// ErrServer tells that the server did not prove that it knows the password.
	ErrServer = errors.New("eap: the server does not prove that it knows the password")
	// ErrMethod tells that the ends have no method in common.
	ErrMethod = errors.New("eap: no method in common")
	// ErrEarlySuccess tells that the server sent EAP-Success before the method had succeeded (RFC 3748 §4.2).
	ErrEarlySuccess = errors.New("eap: EAP-Success before the method has succeeded")
	// ErrUnexpected tells of a message that has no place where the conversation stands.
	ErrUnexpected = errors.New("eap: unexpected message")
	// ErrTooLong tells that a conversation has more messages than any method needs, or a TLS flight more octets.
	ErrTooLong = errors.New("eap: the conversation is too long")
	// ErrTLS tells that the TLS handshake failed.
	ErrTLS = errors.New("eap: TLS")
	// ErrClosed tells that the Machine was closed or has finished.
	ErrClosed = errors.New("eap: the conversation is over")
	// ErrNotAsked tells that an answer came for which there was no question.
	ErrNotAsked = errors.New("eap: this was not asked for")
)
