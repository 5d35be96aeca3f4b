package eap

import "mipvpn/ipsec/ike"

// Answer returns what an event means to ike.Machine.AnswerEAP: a message that is to be sent, or the end. It is false for
// questions and notifications, which are the driver's own matter. The identity of Finished is left to the driver, which knows
// what kind of name it is.
func Answer(e Event) (ike.EAPAnswer, bool) {
	switch e := e.(type) {
	case Send:
		return ike.EAPAnswer{Message: e.Message}, true
	case Finished:
		return ike.EAPAnswer{Message: e.Message, Done: e.Err == nil, MSK: e.MSK, Err: e.Err}, true
	default:
		return ike.EAPAnswer{}, false
	}
}
