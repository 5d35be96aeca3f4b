package main

import (
	"net"
	"os"
)

// firstInherited is the number of the first file that nest hands over (os/exec.Cmd.ExtraFiles).
const firstInherited = 3

// inheritedListener returns the socket that the process outside the user namespace has opened, whose localhost is the person's; nil
// where this is no such process.
func inheritedListener() (net.Listener, error) {
	if os.Getenv(nestedVariable) == "" {
		return nil, nil
	}
	f := os.NewFile(firstInherited, "inherited listener")
	defer f.Close()
	return net.FileListener(f)
}

// files returns what is to be handed over of a listener, nothing without one.
func files(l net.Listener) []*os.File {
	tcp, ok := l.(*net.TCPListener)
	if !ok {
		return nil
	}
	f, err := tcp.File()
	if err != nil {
		return nil // the process inside says that it has none
	}
	return []*os.File{f}
}
