package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"mipvpn/cmd/miplab/internal/company"
	octets "mipvpn/cmd/miplab/internal/overhead"
	"mipvpn/cmd/miplab/internal/topology"
)

// overhead counts octets in namespaces, or on the simulated network where that is asked for.
func overhead(ctx context.Context, o overheadOptions, out, errOut io.Writer) (err error) {
	if err := o.check(); err != nil {
		return err
	}
	if o.simulated {
		return o.run(ctx, o.simulatedBed, out, errOut)
	}
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
	beds := 0
	return o.run(ctx, func(ctx context.Context, c company.Options) (octets.World, func() error, error) {
		beds++
		own := filepath.Join(dir, fmt.Sprintf("company-%d", beds))
		if err := os.Mkdir(own, 0o700); err != nil {
			return nil, nil, err
		}
		for _, name := range lab.Interfaces() {
			if lab.Plugged(name) == "" {
				continue
			}
			if err := lab.Unplug(name); err != nil {
				return nil, nil, err
			}
		}
		firm, err := company.Start(ctx, lab, own, binaries, c)
		if err != nil {
			return nil, nil, err
		}
		w, err := company.NewWorld(lab, firm, "")
		if err != nil {
			return nil, nil, errors.Join(err, firm.Stop())
		}
		return w, func() error { return errors.Join(w.Close(), firm.Stop()) }, nil
	}, out, errOut)
}
