package control

import (
	"context"
	"errors"

	"mipvpn/stack"
)

// Right is what a request takes of whoever is not allowed everything (Authority).
type Right uint8

// The rights.
const (
	// RightRead is to look: nothing is changed and nothing sent.
	RightRead Right = iota
	// RightControl is up and down, to leave the mode to the client or pin one with a VPN, and to have detection and probes begin anew.
	RightControl
	// RightAnswer is to see and answer the questions to a person.
	RightAnswer
	// RightPortal is to open the way to a captive portal.
	RightPortal
	// RightAdminister is what is about plaintext or policy: pins of modes without a VPN, the configuration and its profiles, answers to the
	// questions of somebody else's session, and everything that is not known here.
	RightAdminister
)

// Rights returns all rights.
func Rights() []Right {
	return []Right{RightRead, RightControl, RightAnswer, RightPortal, RightAdminister}
}

// String returns the right's name, the last part of polkit's action.
func (r Right) String() string {
	if int(r) < len(rightNames) {
		return rightNames[r]
	}
	return "administer"
}

var rightNames = []string{"read", "control", "answer", "portal", "administer"}

// rights are those of the operations. One that is not here is an administrator's.
var rights = map[Op]Right{
	OpStatus: RightRead, OpEvents: RightRead, OpWait: RightRead, OpExplain: RightRead, OpDetect: RightRead,
	OpUp: RightControl, OpDown: RightControl, OpMode: RightControl, OpProbe: RightControl, OpPing: RightControl,
	OpQuestions: RightAnswer, OpAnswer: RightAnswer,
	OpPortal: RightPortal,
	// Joining leads nowhere but into the way that the same user has opened.
	OpPortalJoin: RightRead,
	OpReload:     RightAdminister, OpProfiles: RightRead, OpProfile: RightAdminister,
}

// right returns what the request takes of a user; owner says that the session, if it is anybody's, is that user's.
func (r Request) right(owner bool) Right {
	is, known := rights[r.Op]
	switch {
	case !known:
		return RightAdminister
	case r.Op == OpDetect && r.Again:
		return RightControl
	case r.Op == OpMode && r.Mode != "auto":
		if mode, err := stack.ParseMode(r.Mode); err != nil || mode.Plaintext() {
			return RightAdminister
		}
	case is == RightAnswer && !owner:
		return RightAdminister
	}
	return is
}

// Judge decides about peers that the Authority does not allow everything.
type Judge interface {
	// Judge returns nil when the peer has the right. interactive lets a person be asked for a password, which may take minutes. Errors:
	// one that wraps ErrNoJudge when there is nobody to decide, so that the Authority's word is the last; every other one says why not.
	Judge(ctx context.Context, peer Peer, right Right, interactive bool) error
}

// ErrNoJudge is wrapped by the error of a Judge where nobody decides.
var ErrNoJudge = errors.New("nobody decides about users")
