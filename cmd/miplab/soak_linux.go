package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"

	"mipvpn/cmd/miplab/internal/company"
	"mipvpn/cmd/miplab/internal/topology"
	"mipvpn/cmd/miplab/internal/walk"
)

// soak takes the walk in namespaces.
func soak(ctx context.Context, o soakOptions, out, errOut io.Writer) (err error) {
	if err := becomeAble(); err != nil {
		return err
	}
	dir, remove, err := directory(o.dir)
	if err != nil {
		return err
	}
	defer remove()
	if dir, err = filepath.Abs(dir); err != nil {
		return err
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
	c, err := company.Start(ctx, lab, dir, binaries, company.Options{})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.Stop()) }()
	w, err := company.NewWorld(lab, c, "")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.Close()) }()
	log := out
	if o.json {
		log = errOut
	}
	report, err := walk.Run(ctx, walk.Config{Seed: o.seed, Transitions: o.transitions, Dwell: o.dwell, Patience: o.patience, Log: log}, w)
	if err != nil || !report.Passed {
		fmt.Fprintln(errOut, c.Tail(30))
	}
	if err != nil {
		return err
	}
	if o.json {
		err = report.WriteJSON(out)
	} else {
		err = report.WriteTable(out)
	}
	if err == nil && !report.Passed {
		err = exitError(exitFailed)
	}
	return err
}
