package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"

	"mipvpn/cmd/miplab/internal/company"
	"mipvpn/cmd/miplab/internal/topology"
	"mipvpn/cmd/miplab/internal/verdict"
	"mipvpn/cmd/miplab/internal/walk"
)

// soak takes the walk in namespaces.
func soak(ctx context.Context, o soakOptions, out, errOut io.Writer) error {
	return soakCompany(ctx, o, topology.Options{}, out, errOut, func(lab *topology.Lab, c *company.Company, log io.Writer) (_ soakReport, passed bool, err error) {
		w, err := company.NewWorld(lab, c, "")
		if err != nil {
			return nil, false, err
		}
		defer func() { err = errors.Join(err, w.Close()) }()
		r, err := walk.Run(ctx, walk.Config{Seed: o.seed, Transitions: o.transitions, Dwell: o.dwell, Patience: o.patience, Log: log}, w)
		return r, err == nil && r.Passed, err
	})
}

// soakCompany builds the lab with its company and lets run move the laptop in it. Where that is not what it must be the last of
// the programs' log is shown.
func soakCompany(ctx context.Context, o soakOptions, topo topology.Options, out, errOut io.Writer,
	run func(lab *topology.Lab, c *company.Company, log io.Writer) (soakReport, bool, error)) (err error) {
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
	lab, err := topology.New(topo)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, lab.Close()) }()
	c, err := company.Start(ctx, lab, dir, binaries, company.Options{})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.Stop()) }()
	log := out
	if o.json {
		log = errOut
	}
	report, passed, err := run(lab, c, log)
	if err != nil || !passed {
		fmt.Fprintln(errOut, c.Tail(30))
	}
	if err != nil {
		return err
	}
	if err := verdict.Publish(out, report, o.json); err != nil || passed {
		return err
	}
	return exitError(exitFailed)
}

// soakReport is what a soak ends with.
type soakReport interface{ WriteTable(io.Writer) error }
