package agent

import (
	"errors"
	"fmt"
	"testing"

	"mipvpn/mipv4/foreignagent"
	"mipvpn/mipv4/homeagent"
	"mipvpn/mipv4/wire"
)

// Shows: AGT-6 (messages that are not answered are counted by reason, those that are by the code of the reply).
func TestRegistrationsAreCounted(t *testing.T) {
	var r registrations
	for err, want := range map[error]string{
		&homeagent.Denied{Code: wire.CodeMobileNodeAuthentication}:          "",
		&foreignagent.Denied{Code: wire.CodeFAProhibited}:                   "",
		&foreignagent.Denied{Code: wire.CodeFAProhibited, Suppressed: true}: "rate_limited",
		fmt.Errorf("%w: x", homeagent.ErrUntrustedSource):                   "untrusted",
		fmt.Errorf("%w: x", homeagent.ErrUnknownMobileNode):                 "unknown_mobile_node",
		fmt.Errorf("%w: %w", homeagent.ErrRateLimited, wire.ErrTruncated):   "rate_limited",
		fmt.Errorf("%w: x", homeagent.ErrPending):                           "pending",
		fmt.Errorf("%w: x", foreignagent.ErrNoPending):                      "no_pending_request",
		fmt.Errorf("%w: x", homeagent.ErrReplay):                            "revocation",
		fmt.Errorf("%w: x", wire.ErrTruncated):                              "malformed",
		errors.New("whatever a stranger can think of"):                      "malformed",
	} {
		if got := r.discard(err); got != want {
			t.Errorf("%v: %q, want %q", err, got, want)
		}
	}
	for _, message := range [][]byte{nil, {byte(wire.TypeRegistrationReply)}, {byte(wire.TypeRegistrationReply), 0}, {byte(wire.TypeRegistrationReply), 131}, {byte(wire.TypeRegistrationReply), 131, 9}, {7, 131}} {
		r.sent(message)
	}
	s := r.snapshot()
	if len(s.Replies) != 2 || s.Replies[0] != 1 || s.Replies[131] != 2 {
		t.Errorf("replies %v", s.Replies)
	}
	if s.Discarded["malformed"] != 2 || s.Discarded["rate_limited"] != 2 || s.Discarded[""] != 0 || len(s.Discarded) != 7 {
		t.Errorf("discarded %v", s.Discarded)
	}
}
