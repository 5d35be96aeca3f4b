package main

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"mipvpn/cmd/miplab/internal/scenario"
	"mipvpn/cmd/miplab/internal/simulated"
)

// seed is where the simulated network's chances come from.
const seed = 1

// simulate plays the tour on the simulated network.
func (o demoOptions) simulate(ctx context.Context, out, errOut io.Writer) (err error) {
	dir, remove, err := directory(o.dir)
	if err != nil {
		return err
	}
	defer remove()
	name := filepath.Join(dir, "simulated.log")
	file, err := os.Create(name)
	if err != nil {
		return err
	}
	defer file.Close()
	e := zap.NewProductionEncoderConfig()
	e.EncodeTime = zapcore.ISO8601TimeEncoder
	log := zap.New(zapcore.NewCore(zapcore.NewConsoleEncoder(e), zapcore.Lock(file), zapcore.DebugLevel))
	w, err := simulated.Start(seed, o.company(), log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.Close()) }()
	nothing := func(*scenario.Report) error { return nil }
	return o.play(ctx, w, nothing, func() string {
		b, err := os.ReadFile(name)
		if err != nil {
			return err.Error()
		}
		return lastLines(string(b), 60)
	}, out, errOut)
}
