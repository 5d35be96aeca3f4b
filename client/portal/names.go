package portal

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// Names says which names the browser of a portal may ask for and what it is told.
type Names struct {
	// Forbidden is what no name may lead to.
	Forbidden Forbidden
	// Domains are the enterprise's: names in them are not asked for.
	Domains []string
}

const (
	// maxRecords is how many address records of an answer are looked at.
	maxRecords = 16
	// MaxTTL is the longest time to live that the browser is told, so that it asks again before the way to an address
	// that it was told closes.
	MaxTTL = 30 * time.Second
	// maxMessage is the greatest DNS message that is looked at, in octets.
	maxMessage = 4096
)

// ErrNotAQuery is returned for a message that is no DNS query with one question.
var ErrNotAQuery = errors.New("portal: expected a DNS query with one question")

// ErrNotTheAnswer is returned for a message that does not answer the query.
var ErrNotTheAnswer = errors.New("portal: expected the answer to the query")

// Query is a browser's question for a name.
type Query struct {
	header   dnsmessage.Header
	question dnsmessage.Question
	message  []byte // what is sent on
	names    Names
}

// Query reads a browser's DNS message. With the second result false it is not to be sent on: Refusal has the answer.
func (n Names) Query(message []byte) (q Query, forward bool, err error) {
	if len(message) > maxMessage {
		return Query{}, false, fmt.Errorf("%w: it has %d octets", ErrNotAQuery, len(message))
	}
	var p dnsmessage.Parser
	h, err := p.Start(message)
	if err != nil {
		return Query{}, false, fmt.Errorf("%w: %w", ErrNotAQuery, err)
	}
	all, err := p.AllQuestions()
	if err != nil {
		return Query{}, false, fmt.Errorf("%w: %w", ErrNotAQuery, err)
	}
	if h.Response || h.OpCode != 0 || len(all) != 1 {
		return Query{}, false, fmt.Errorf("%w: response %v, opcode %d, %d questions", ErrNotAQuery, h.Response, h.OpCode, len(all))
	}
	q = Query{header: h, question: all[0], names: n}
	if all[0].Type != dnsmessage.TypeA || all[0].Class != dnsmessage.ClassINET || n.forbids(all[0].Name.String()) {
		return q, false, nil
	}
	b := dnsmessage.NewBuilder(nil, dnsmessage.Header{ID: h.ID, RecursionDesired: true})
	if err := errors.Join(b.StartQuestions(), b.Question(all[0])); err != nil {
		return Query{}, false, fmt.Errorf("%w: %w", ErrNotAQuery, err)
	}
	if q.message, err = b.Finish(); err != nil {
		return Query{}, false, fmt.Errorf("%w: %w", ErrNotAQuery, err)
	}
	return q, true, nil
}

// forbids reports whether the name is in one of the enterprise's domains.
func (n Names) forbids(name string) bool {
	name = strings.ToLower(strings.TrimSuffix(name, "."))
	for _, d := range n.Domains {
		d = strings.ToLower(strings.Trim(d, "."))
		if d != "" && (name == d || strings.HasSuffix(name, "."+d)) {
			return true
		}
	}
	return false
}

// Message returns the query to be sent to a name server of the interface: nothing but the question. It is borrowed.
func (q Query) Message() []byte { return q.message }

// Name returns the name that is asked for, as it came.
func (q Query) Name() string { return q.question.Name.String() }

// Refusal returns the answer to a query that is not sent on, or that nobody has answered (failed): no such name for the
// enterprise's own, no records for other types than A (the way leads to IPv4 addresses alone), server failure otherwise.
func (q Query) Refusal(failed bool) ([]byte, error) {
	code := dnsmessage.RCodeSuccess
	switch {
	case failed:
		code = dnsmessage.RCodeServerFailure
	case q.names.forbids(q.question.Name.String()):
		code = dnsmessage.RCodeNameError
	}
	return q.answer(code, nil)
}

// Answer reads the name server's answer and returns what the browser is told, and the addresses in it, which the way then
// leads to. Addresses that are forbidden are left out, and nothing but addresses is told.
func (q Query) Answer(message []byte) (answer []byte, addresses []netip.Addr, err error) {
	if len(message) > maxMessage {
		return nil, nil, fmt.Errorf("%w: it has %d octets", ErrNotTheAnswer, len(message))
	}
	var p dnsmessage.Parser
	h, err := p.Start(message)
	if err != nil {
		return nil, nil, fmt.Errorf("%w: %w", ErrNotTheAnswer, err)
	}
	all, err := p.AllQuestions()
	if err != nil {
		return nil, nil, fmt.Errorf("%w: %w", ErrNotTheAnswer, err)
	}
	if !h.Response || h.ID != q.header.ID || len(all) != 1 || all[0].Type != q.question.Type || all[0].Class != q.question.Class ||
		!strings.EqualFold(all[0].Name.String(), q.question.Name.String()) {
		return nil, nil, fmt.Errorf("%w: another question or identifier", ErrNotTheAnswer)
	}
	ttl := uint32(MaxTTL / time.Second)
	for range 4 * maxRecords {
		r, err := p.AnswerHeader()
		if errors.Is(err, dnsmessage.ErrSectionDone) {
			break
		}
		if err != nil {
			return nil, nil, fmt.Errorf("%w: %w", ErrNotTheAnswer, err)
		}
		if r.Type != dnsmessage.TypeA || r.Class != dnsmessage.ClassINET {
			if err := p.SkipAnswer(); err != nil {
				return nil, nil, fmt.Errorf("%w: %w", ErrNotTheAnswer, err)
			}
			continue
		}
		a, err := p.AResource()
		if err != nil {
			return nil, nil, fmt.Errorf("%w: %w", ErrNotTheAnswer, err)
		}
		ttl = min(ttl, r.TTL)
		if address := netip.AddrFrom4(a.A); q.names.Forbidden.Admits(address) && len(addresses) < maxRecords {
			addresses = append(addresses, address)
		}
	}
	answer, err = q.answer(h.RCode, func(b *dnsmessage.Builder) error {
		for _, a := range addresses {
			record := dnsmessage.ResourceHeader{Name: q.question.Name, Class: dnsmessage.ClassINET, TTL: ttl}
			if err := b.AResource(record, dnsmessage.AResource{A: a.As4()}); err != nil {
				return err
			}
		}
		return nil
	})
	return answer, addresses, err
}

// answer writes an answer to the browser's query.
func (q Query) answer(code dnsmessage.RCode, records func(*dnsmessage.Builder) error) ([]byte, error) {
	b := dnsmessage.NewBuilder(nil, dnsmessage.Header{
		ID: q.header.ID, Response: true, RecursionDesired: q.header.RecursionDesired, RecursionAvailable: true, RCode: code,
	})
	b.EnableCompression()
	if err := errors.Join(b.StartQuestions(), b.Question(q.question), b.StartAnswers()); err != nil {
		return nil, fmt.Errorf("portal: write an answer: %w", err)
	}
	if records != nil {
		if err := records(&b); err != nil {
			return nil, fmt.Errorf("portal: write an answer: %w", err)
		}
	}
	return b.Finish()
}
