package holder

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"

	"golang.org/x/sys/unix"
)

// ErrNotStanding is returned when no holder answers.
var ErrNotStanding = errors.New("no lab is standing; `miplab up` makes one")

// Request is what the holder is asked for.
type Request struct {
	// Op is "exec", "plug", "unplug", "down", or, on the connection of a running exec, "signal".
	Op string `json:"op"`
	// Box, Args, Dir and Env are for exec: the command runs in the box, with these variables behind the lab's own.
	Box  string   `json:"box,omitempty"`
	Args []string `json:"args,omitempty"`
	Dir  string   `json:"dir,omitempty"`
	Env  []string `json:"env,omitempty"`
	// Interface and Network are for plug and unplug.
	Interface string `json:"interface,omitempty"`
	Network   string `json:"network,omitempty"`
	// Signal is the number of the signal.
	Signal int `json:"signal,omitempty"`
}

// Answer is what came of it.
type Answer struct {
	// Error is empty when all went well.
	Error string `json:"error,omitempty"`
	// Text is for a person.
	Text string `json:"text,omitempty"`
	// Code is an executed command's exit code.
	Code int `json:"code"`
}

// Ask asks the holder on the socket. For exec the files, standard input, output and error, go along. Signals that come in
// on the channel, which may be nil, are sent on to the command.
func Ask(socket string, r Request, files []*os.File, signals <-chan os.Signal) (Answer, error) {
	conn, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: socket, Net: "unix"})
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ECONNREFUSED) {
		return Answer{}, ErrNotStanding
	}
	if err != nil {
		return Answer{}, fmt.Errorf("holder: %w", err)
	}
	defer conn.Close()
	line, err := json.Marshal(r)
	if err != nil {
		return Answer{}, err
	}
	var rights []byte
	if len(files) > 0 {
		var fds []int
		for _, f := range files {
			fds = append(fds, int(f.Fd()))
		}
		rights = unix.UnixRights(fds...)
	}
	if _, _, err := conn.WriteMsgUnix(append(line, '\n'), rights, nil); err != nil {
		return Answer{}, fmt.Errorf("holder: asking: %w", err)
	}
	done := make(chan struct{})
	defer close(done)
	go func() {
		for {
			select {
			case <-done:
				return
			case s := <-signals:
				if n, ok := s.(unix.Signal); ok {
					json.NewEncoder(conn).Encode(Request{Op: "signal", Signal: int(n)}) // the answer tells if it is gone
				}
			}
		}
	}()
	var a Answer
	if err := json.NewDecoder(bufio.NewReader(conn)).Decode(&a); err != nil {
		return Answer{}, fmt.Errorf("holder: the answer: %w", err)
	}
	if a.Error != "" {
		return a, errors.New(a.Error)
	}
	return a, nil
}
