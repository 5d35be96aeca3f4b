package control

import (
	"strings"
	"time"
)

// Problem is one thing that keeps the client from working: which peer, what the standard calls it, and what to do.
type Problem struct {
	// Peer names the other end with its role, such as "i-HA 10.0.1.10"; empty when the problem is here.
	Peer string `json:"peer"`
	// Code is the standard's code or notify with its name, such as "131 mobile node failed authentication"; empty without.
	Code string `json:"code"`
	// Message says in plain words what happened.
	Message string `json:"message"`
	// Advice says what to do about it.
	Advice string `json:"advice"`
	// Since is when it was first seen.
	Since time.Time `json:"since"`
}

// String writes the problem as one line: peer, message, code, advice. What the message says already is not repeated.
func (p Problem) String() string {
	s := p.Message
	if p.Peer != "" {
		s = p.Peer + ": " + s
	}
	if p.Code != "" && !strings.Contains(s, p.Code) {
		s += " (" + p.Code + ")"
	}
	if p.Advice != "" && !strings.Contains(s, p.Advice) {
		s += "; " + p.Advice
	}
	return s
}
