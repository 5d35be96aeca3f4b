//go:build !linux

package main

import (
	"context"
	"errors"
	"io"
	"net"

	"github.com/spf13/cobra"
)

// demo plays the tour on the simulated network: namespaces are Linux's.
func demo(ctx context.Context, o demoOptions, out, errOut io.Writer) error {
	if !o.simulated {
		return errors.New("the lab is made of Linux network namespaces; on this system there is `miplab demo --simulated`")
	}
	listener, err := o.open()
	if err != nil {
		return err
	}
	return o.present(ctx, listener, out, errOut, demoOptions.simulate)
}

// overhead counts octets on the simulated network: namespaces are Linux's.
func overhead(ctx context.Context, o overheadOptions, out, errOut io.Writer) error {
	if err := o.check(); err != nil {
		return err
	}
	if !o.simulated {
		return errors.New("the lab is made of Linux network namespaces; on this system there is `miplab overhead --simulated`")
	}
	return o.run(ctx, o.simulatedBed, out, errOut)
}

// labCommands are the commands on a lab, of which there is none here.
func labCommands() []*cobra.Command { return nil }

// inheritedListener returns nil: nothing is handed over where there are no user namespaces.
func inheritedListener() (net.Listener, error) { return nil, nil }
