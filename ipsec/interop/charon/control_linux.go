package charon

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"time"
)

// Packets of the control interface (README of strongSwan's vici plugin, "Packet layer").
const (
	packetRequest       = 0
	packetResponse      = 1
	packetUnknown       = 2
	packetRegister      = 3
	packetConfirm       = 5
	packetUnknownEvent  = 6
	packetEvent         = 7
	maxControl          = 512 << 10 // charon's own bound
	controlPatience     = 60 * time.Second
	controlSocket       = "charon.vici"
	controlSuccess      = "success"
	controlErrorMessage = "errmsg"
)

// ErrRefused tells that charon could not do what it was asked for; the error has charon's own words.
var ErrRefused = errors.New("charon: refused")

// Call asks charon over its control socket and returns the answer. With event not empty, the events of that name that come
// before the answer are returned too, as "list-sas" sends each SA in a "list-sa". Errors: ErrRefused with charon's reason,
// ErrControl, and those of the socket.
func (d *Daemon) Call(command, event string, request Section) (answer Section, events []Section, err error) {
	fail := func(err error) (Section, []Section, error) {
		return nil, events, fmt.Errorf("charon: %s: %w", command, err)
	}
	// A socket's path may have 107 octets; the folder's own may be longer.
	run, err := os.Open(filepath.Join(d.dir, "run"))
	if err != nil {
		return fail(err)
	}
	defer run.Close()
	conn, err := net.Dial("unix", fmt.Sprintf("/proc/self/fd/%d/%s", run.Fd(), controlSocket))
	if err != nil {
		return fail(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(controlPatience)); err != nil {
		return fail(err)
	}
	if event != "" {
		if err := writeControl(conn, packetRegister, event, nil); err != nil {
			return fail(err)
		}
		if kind, _, err := readControl(conn); err != nil || kind != packetConfirm {
			return fail(fmt.Errorf("event %s: want it confirmed, found packet type %d: %w", event, kind, errors.Join(err, ErrControl)))
		}
	}
	if err := writeControl(conn, packetRequest, command, request); err != nil {
		return fail(err)
	}
	for {
		kind, s, err := readControl(conn)
		switch {
		case err != nil:
			return fail(err)
		case kind == packetEvent:
			events = append(events, s)
		case kind != packetResponse:
			return fail(fmt.Errorf("%w: packet type %d", ErrControl, kind))
		case s.String(controlSuccess) == "no":
			return s, events, fmt.Errorf("%w: %s: %s", ErrRefused, command, s.String(controlErrorMessage))
		default:
			return s, events, nil
		}
	}
}

func writeControl(w io.Writer, kind byte, name string, s Section) error {
	b := append([]byte{0, 0, 0, 0, kind, byte(len(name))}, name...)
	b, err := s.append(b)
	if err != nil {
		return err
	}
	binary.BigEndian.PutUint32(b, uint32(len(b)-4))
	_, err = w.Write(b)
	return err
}

func readControl(r io.Reader) (kind byte, s Section, err error) {
	var head [5]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return 0, nil, err
	}
	n := binary.BigEndian.Uint32(head[:])
	if n < 1 || n > maxControl {
		return 0, nil, fmt.Errorf("%w: want 1 to %d octets, found %d", ErrControl, maxControl, n)
	}
	body := make([]byte, n-1)
	if _, err := io.ReadFull(r, body); err != nil {
		return 0, nil, err
	}
	kind = head[4]
	switch kind {
	case packetEvent:
		if len(body) < 1 || len(body) < 1+int(body[0]) {
			return kind, nil, fmt.Errorf("%w: an event without a name", ErrControl)
		}
		body = body[1+int(body[0]):]
	case packetResponse:
	case packetUnknown, packetConfirm, packetUnknownEvent:
		return kind, nil, nil
	}
	s, err = parseSection(body)
	return kind, s, err
}
