package ike

import (
	"encoding/binary"
	"errors"
	"fmt"

	"mipvpn/ipsec/ike/message"
)

// Reasons for the end of a machine or a child SA.
var (
	// ErrDeleted means that Delete was called.
	ErrDeleted = errors.New("closed by this end")
	// ErrSuspended means that Suspend was called.
	ErrSuspended = errors.New("suspended by this end")
	// ErrDeletedByPeer means that the peer sent a Delete payload.
	ErrDeletedByPeer = errors.New("closed by the peer")
	// ErrReplaced means that a child SA was rekeyed.
	ErrReplaced = errors.New("replaced by a rekeyed SA")
	// ErrNoAnswer means that the retransmissions of a request ended without an answer (RFC 7296 §2.4).
	ErrNoAnswer = errors.New("the peer does not answer")
	// ErrAuthentication means that the peer's AUTH payload does not prove its identity: most often the PSKs differ.
	ErrAuthentication = errors.New("the peer's authentication is wrong")
	// ErrIdentity means that the peer proved another identity than the one configured.
	ErrIdentity = errors.New("the peer has another identity than configured")
	// ErrExpired means that an SA's lifetime ended and it could not be rekeyed (RFC 7296 §2.8).
	ErrExpired = errors.New("lifetime ended without a successful rekeying")
	// ErrConfiguration means that the gateway did not assign what was asked for.
	ErrConfiguration = errors.New("the gateway assigned no address")
	// ErrOutOfSync means that the peer answered TEMPORARY_FAILURE for several minutes (RFC 7296 §2.25).
	ErrOutOfSync = errors.New("the peer's state does not agree with ours")
)

// Reasons for the rejection of one input; the machine is intact.
var (
	// ErrUnknownSPI means that the message is for no IKE SA of this machine.
	ErrUnknownSPI = errors.New("no IKE SA with these SPIs")
	// ErrIntegrity means that the message is not authentic.
	ErrIntegrity = errors.New("integrity check failed")
	// ErrUnprotected means that a message without protection came where only protected ones count.
	ErrUnprotected = errors.New("message without protection")
	// ErrMessageID means that the message ID is outside of the window.
	ErrMessageID = errors.New("message ID outside of the window")
	// ErrUnexpected means that the message does not fit the state.
	ErrUnexpected = errors.New("message does not fit the state")
	// ErrClosed means that the machine is dead or not started.
	ErrClosed = errors.New("IKE machine is not running")
	// ErrNoChild means that a command names a child SA that does not exist.
	ErrNoChild = errors.New("no such child SA")
	// ErrInvalidAnswer means that a response does not fit its request: an answer that was not offered, a payload missing.
	ErrInvalidAnswer = errors.New("the peer's answer does not fit the request")
)

// NotifyError is a refusal with the standard's name for it, received from the peer or sent to it.
type NotifyError struct {
	Type message.NotifyType
	// Exchange is the exchange that was refused.
	Exchange message.ExchangeType
	// Sent is set when we refused the peer's request.
	Sent bool
	// Data is the Notification Data.
	Data []byte
}

// Error gives the exchange and the standard's name of the notify type.
func (e *NotifyError) Error() string {
	verb := "refused by the peer"
	if e.Sent {
		verb = "refused"
	}
	s := fmt.Sprintf("%s %s with %s", e.Exchange, verb, e.Type)
	if e.Type == message.InvalidKEPayload && len(e.Data) == 2 {
		s += fmt.Sprintf(" (group %d)", binary.BigEndian.Uint16(e.Data))
	}
	return s
}

// Is reports that two NotifyErrors with the same type are the same error, so that errors.Is(err, &NotifyError{Type: t})
// finds a refusal by its type.
func (e *NotifyError) Is(target error) bool {
	var t *NotifyError
	return errors.As(target, &t) && t.Type == e.Type
}
