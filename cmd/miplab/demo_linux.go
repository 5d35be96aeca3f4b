package main

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"

	"mipvpn/cmd/miplab/internal/company"
	"mipvpn/cmd/miplab/internal/scenario"
	"mipvpn/cmd/miplab/internal/topology"
	"mipvpn/cmd/miplab/internal/tshark"
)

// demo plays the tour in namespaces, or on the simulated network where that is asked for.
func demo(ctx context.Context, o demoOptions, out, errOut io.Writer) error {
	listener, err := o.open()
	if err != nil {
		return err
	}
	if o.simulated {
		return o.present(ctx, listener, out, errOut, demoOptions.simulate)
	}
	if err := becomeAble(files(listener)...); err != nil {
		var code exitError
		if errors.As(err, &code) {
			return err
		}
		return fmt.Errorf("%w\n\nThe same tour on the simulated network needs no rights: miplab demo --simulated", err)
	}
	return o.present(ctx, listener, out, errOut, demoOptions.inNamespaces)
}

// inNamespaces plays the tour with the real programs.
func (o demoOptions) inNamespaces(ctx context.Context, out, errOut io.Writer) (err error) {
	dir, remove, err := directory(o.dir)
	if err != nil {
		return err
	}
	defer remove()
	if dir, err = filepath.Abs(dir); err != nil {
		return err
	}
	pcap := o.pcap
	if pcap == "" && tshark.Available() == nil {
		pcap = filepath.Join(dir, "captures")
	}
	if pcap != "" {
		if err := os.MkdirAll(pcap, 0o755); err != nil {
			return err
		}
	}
	binaries, err := company.Binaries()
	if err != nil {
		return err
	}
	lab, err := topology.New(topology.Options{})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, lab.Close()) }()
	if o.overTCP {
		for _, w := range []topology.Wire{topology.Cafe, topology.Cellular} {
			if err := lab.OnlyTCP(w, true); err != nil {
				return err
			}
		}
	}
	c, err := company.Start(ctx, lab, dir, binaries, o.company())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.Stop()) }()
	w, err := company.NewWorld(lab, c, pcap)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.Close()) }()
	return o.play(ctx, w, func(r *scenario.Report) error { return secondOpinion(r, w.Captures()) }, func() string { return c.Tail(30) }, out, errOut)
}

// secondOpinion has tshark, where it is installed, judge the captures too, by wire: it must find no leak outside and
// nothing malformed anywhere.
func secondOpinion(r *scenario.Report, captures map[string]string) error {
	if err := tshark.Available(); err != nil {
		r.SecondOpinion = "no second opinion: " + err.Error()
		return nil
	}
	canary, err := hex.DecodeString(r.Canary)
	if err != nil || len(canary) == 0 {
		return err // the sessions never began, which is told already
	}
	inside := 0
	for _, wire := range topology.Wires {
		file, ok := captures[string(wire)]
		if !ok {
			continue
		}
		leaks, err := tshark.Leaks(file, canary, topology.InternalHomeAddress, topology.CorrespondentAddress)
		if err != nil {
			return err
		}
		if !slices.Contains(topology.External, wire) {
			inside += len(leaks)
		} else if len(leaks) > 0 {
			r.Fail("tshark sees %d frames of enterprise traffic on the wire %s, the first: %s", len(leaks), wire, leaks[0])
		}
		malformed, err := tshark.Malformed(file)
		if err != nil {
			return err
		}
		if len(malformed) > 0 {
			r.Fail("tshark finds %d malformed frames on the wire %s, the first: %s", len(malformed), wire, malformed[0])
		}
	}
	if inside == 0 {
		r.Fail("tshark sees no enterprise traffic even inside: its opinion is worth nothing")
	}
	r.SecondOpinion = fmt.Sprintf("second opinion: tshark sees enterprise traffic in %d frames inside", inside)
	if r.Passed {
		r.SecondOpinion += ", in none outside, and nothing malformed"
	}
	return nil
}
