package main

import (
	"fmt"
	"io"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// newLog returns the logger that the configuration asks for, on w.
func newLog(cfg logTable, w io.Writer) (*zap.Logger, error) {
	level, err := zapcore.ParseLevel(orDefault(cfg.Level, "info"))
	if err != nil {
		return nil, fmt.Errorf("log level %q: valid is debug, info, warn or error", cfg.Level)
	}
	encoding := zap.NewProductionEncoderConfig()
	encoding.EncodeTime = zapcore.ISO8601TimeEncoder
	encoding.EncodeDuration = zapcore.StringDurationEncoder
	var encoder zapcore.Encoder
	switch cfg.Format {
	case "", "console":
		encoder = zapcore.NewConsoleEncoder(encoding)
	case "json":
		encoder = zapcore.NewJSONEncoder(encoding)
	default:
		return nil, fmt.Errorf("log format %q: valid is console or json", cfg.Format)
	}
	return zap.New(zapcore.NewCore(encoder, zapcore.Lock(zapcore.AddSync(w)), level)), nil
}

func orDefault[T comparable](v, d T) T {
	var zero T
	if v == zero {
		return d
	}
	return v
}
