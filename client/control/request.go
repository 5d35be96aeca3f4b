package control

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"
)

const (
	// MaxRequest is the greatest length of a request in octets, its line break included.
	MaxRequest = 4096
	// MaxWait is the longest that a wait request may take.
	MaxWait = 24 * time.Hour
)

// Op names what a request asks for.
type Op string

// The operations.
const (
	// OpUp and OpDown bring the client up and down.
	OpUp   Op = "up"
	OpDown Op = "down"
	// OpStatus asks for the Status.
	OpStatus Op = "status"
	// OpMode sets the mode policy to Request.Mode.
	OpMode Op = "mode"
	// OpDetect asks for the Detection, after starting it anew with Request.Again.
	OpDetect Op = "detect"
	// OpEvents asks for all events from now on, or from Request.After on. The answer is an empty Response, and then one a event.
	OpEvents Op = "events"
	// OpWait asks for the Status once Request.For has come true, for up to Request.Timeout milliseconds.
	OpWait Op = "wait"
	// OpPortal opens the way to a captive portal on Request.Interface for up to Request.Timeout milliseconds. The answer is the
	// PortalWay, and then another once it has closed. It closes when the connection does.
	OpPortal Op = "portal"
	// OpPortalJoin puts the peer's process into the way that its user has open.
	OpPortalJoin Op = "portal_join"
	// OpQuestions asks for the Questions to a person as they are open, and again whenever they change.
	OpQuestions Op = "questions"
	// OpAnswer answers the question Request.Question with Request.Secret, or declines it where that is empty.
	OpAnswer Op = "answer"
	// OpProbe asks the i-HA straight through every interface, which takes a few seconds, and answers with the Probe.
	OpProbe Op = "probe"
	// OpExplain asks which way packets to Request.Address go, and answers with the Explanation.
	OpExplain Op = "explain"
	// OpPing asks the far end of each layer whether it answers, which takes up to a few seconds, and answers with the Ping.
	OpPing Op = "ping"
)

// Ops returns all operations.
func Ops() []Op {
	return []Op{OpUp, OpDown, OpStatus, OpMode, OpDetect, OpEvents, OpWait, OpProbe, OpExplain, OpPing, OpPortal, OpPortalJoin, OpQuestions, OpAnswer, OpReload, OpProfiles, OpProfile}
}

// Condition is what a wait request waits for.
type Condition string

// The conditions: the verdict on the interface in use, or user data flowing.
const (
	WaitInside    Condition = "inside"
	WaitOutside   Condition = "outside"
	WaitConnected Condition = "connected"
)

// Conditions returns all conditions.
func Conditions() []Condition { return []Condition{WaitInside, WaitOutside, WaitConnected} }

// Holds reports whether the condition is true of the status.
func (c Condition) Holds(s Status) bool {
	switch c {
	case WaitInside:
		return s.Proof.Verdict == VerdictInside
	case WaitOutside:
		return s.Proof.Verdict == VerdictOutside
	case WaitConnected:
		return s.State == StateConnected
	}
	return false
}

// Request is one request.
type Request struct {
	// Schema is the constant Schema.
	Schema int `json:"schema"`
	// Op is what is asked for.
	Op Op `json:"op"`
	// Mode is the policy for OpMode.
	Mode string `json:"mode,omitempty"`
	// Again is for OpDetect.
	Again bool `json:"again,omitempty"`
	// For is the condition for OpWait.
	For Condition `json:"for,omitempty"`
	// Timeout is for OpWait, in milliseconds; 0 waits as long as MaxWait.
	Timeout int64 `json:"timeout_ms,omitempty"`
	// Interface is for OpPortal.
	Interface string `json:"interface,omitempty"`
	// Question and Secret are for OpAnswer; the secret stands in base64.
	Question uint64 `json:"question,omitempty"`
	Secret   []byte `json:"secret,omitempty"`
	// After is for OpEvents: the cursor of the last event that is known, empty to begin now.
	After string `json:"after,omitempty"`
	// Interactive lets a person be asked for a password where the operation takes a right that the peer has not got by itself.
	Interactive bool `json:"interactive,omitempty"`
	// Anew is for OpReload.
	Anew bool `json:"anew,omitempty"`
	// Profile is for OpProfile, a profile's name.
	Profile string `json:"profile,omitempty"`
	// Address is for OpExplain, an IP address as text.
	Address string `json:"address,omitempty"`
}

// ErrRequest is wrapped by the errors of ParseRequest.
var ErrRequest = errors.New("request not understood")

func errRequest(format string, a ...any) error {
	return fmt.Errorf("%w: %s", ErrRequest, fmt.Sprintf(format, a...))
}

// ParseRequest decodes one request, strictly: unknown fields, operations and conditions, fields that the operation does
// not take, and anything behind the document are errors that wrap ErrRequest.
func ParseRequest(line []byte) (Request, error) {
	if len(line) > MaxRequest {
		return Request{}, fmt.Errorf("%w: %d octets, at most %d", ErrRequest, len(line), MaxRequest)
	}
	d := json.NewDecoder(bytes.NewReader(line))
	d.DisallowUnknownFields()
	var r Request
	if err := d.Decode(&r); err != nil {
		return Request{}, fmt.Errorf("%w: %v", ErrRequest, err)
	}
	if _, err := d.Token(); err != io.EOF {
		return Request{}, fmt.Errorf("%w: something follows the document", ErrRequest)
	}
	return r, r.check()
}

func (r Request) check() error {
	if r.Schema != Schema {
		return fmt.Errorf("%w: schema %d, this daemon speaks %d", ErrRequest, r.Schema, Schema)
	}
	if !contains(Ops(), r.Op) {
		return fmt.Errorf("%w: operation %.20q, expected one of %q", ErrRequest, r.Op, Ops())
	}
	switch {
	case (r.Mode != "") != (r.Op == OpMode):
		return fmt.Errorf("%w: operation %q and mode %.20q do not fit", ErrRequest, r.Op, r.Mode)
	case r.Again && r.Op != OpDetect:
		return fmt.Errorf("%w: operation %q does not take \"again\"", ErrRequest, r.Op)
	case r.Op == OpWait && !contains(Conditions(), r.For):
		return fmt.Errorf("%w: condition %.20q, expected one of %q", ErrRequest, r.For, Conditions())
	case r.Op != OpWait && r.Op != OpPortal && (r.For != "" || r.Timeout != 0):
		return fmt.Errorf("%w: operation %q takes neither \"for\" nor \"timeout_ms\"", ErrRequest, r.Op)
	case r.Timeout < 0 || r.Timeout > MaxWait.Milliseconds():
		return fmt.Errorf("%w: timeout of %d ms, expected 0 to %d", ErrRequest, r.Timeout, MaxWait.Milliseconds())
	}
	if r.Op != OpAnswer && (r.Question != 0 || len(r.Secret) > 0) || r.Op == OpAnswer && r.Question == 0 {
		return fmt.Errorf("%w: operation %q and a question's answer do not fit", ErrRequest, r.Op)
	}
	if r.After != "" && r.Op != OpEvents {
		return errRequest("operation %q takes no cursor", r.Op)
	}
	if r.Anew && r.Op != OpReload {
		return errRequest("operation %q does not take \"anew\"", r.Op)
	}
	if (r.Profile != "") != (r.Op == OpProfile) {
		return errRequest("operation %q and profile %.20q do not fit", r.Op, r.Profile)
	}
	if err := r.checkExplain(); err != nil {
		return err
	}
	return r.checkPortal()
}

func contains[T comparable](all []T, v T) bool {
	for _, a := range all {
		if a == v {
			return true
		}
	}
	return false
}

// Kind says what sort of error a Response bears; the command line makes its exit code of it.
type Kind string

// The kinds.
const (
	// KindFailed: it was tried and did not work, or the Backend refused it.
	KindFailed Kind = "failed"
	// KindUsage: the request itself is wrong.
	KindUsage Kind = "usage"
	// KindPermission: the peer may not ask for it.
	KindPermission Kind = "permission"
	// KindNotConnected: a wait that cannot end well, because the client is down.
	KindNotConnected Kind = "not_connected"
	// KindTimeout: a wait that has timed out.
	KindTimeout Kind = "timeout"
)

// Error is an error that the daemon answered.
type Error struct {
	// Kind says what sort of error it is.
	Kind Kind `json:"kind"`
	// Message is for people.
	Message string `json:"message"`
}

// Error returns the message.
func (e *Error) Error() string { return e.Message }

// Response is one answer. At most one of the fields but Schema is set; none is for an operation that just succeeded.
type Response struct {
	// Schema is the constant Schema.
	Schema int `json:"schema"`
	// Error is set when the operation did not succeed.
	Error *Error `json:"error,omitempty"`
	// Status answers OpStatus and OpWait.
	Status *Status `json:"status,omitempty"`
	// Detection answers OpDetect.
	Detection *Detection `json:"detection,omitempty"`
	// Probe answers OpProbe.
	Probe *Probe `json:"probe,omitempty"`
	// Explanation answers OpExplain.
	Explanation *Explanation `json:"explanation,omitempty"`
	// Ping answers OpPing.
	Ping *Ping `json:"ping,omitempty"`
	// Event is one event of OpEvents.
	Event *Event `json:"event,omitempty"`
	// Portal answers OpPortal.
	Portal *PortalWay `json:"portal,omitempty"`
	// Reload answers OpReload and OpProfile.
	Reload *Reload `json:"reload,omitempty"`
	// Profiles answers OpProfiles.
	Profiles *Profiles `json:"profiles,omitempty"`
	// Questions answers OpQuestions.
	Questions *Questions `json:"questions,omitempty"`
}
