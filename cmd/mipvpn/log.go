package main

import (
	"io"
	"strings"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

const (
	// logRepeat is how often the same message is logged within logTick, so that something that happens again and again does not fill the
	// journal. What is dropped was said.
	logRepeat = 20
	logTick   = time.Minute
)

// newLog returns the daemon's log: an entry is one line, whatever others have put into its message.
func newLog(w io.Writer, level zap.AtomicLevel) *zap.Logger {
	e := zap.NewProductionEncoderConfig()
	e.EncodeTime = zapcore.ISO8601TimeEncoder
	e.EncodeDuration = zapcore.StringDurationEncoder
	core := oneLine{zapcore.NewCore(zapcore.NewConsoleEncoder(e), zapcore.Lock(zapcore.AddSync(w)), level)}
	return zap.New(zapcore.NewSamplerWithOptions(core, logTick, logRepeat, 0))
}

// oneLine is a core whose messages are one line of printable characters. Fields are encoded as JSON, which sees to that itself.
type oneLine struct{ zapcore.Core }

// With implements zapcore.Core.
func (c oneLine) With(f []zapcore.Field) zapcore.Core { return oneLine{c.Core.With(f)} }

// Check implements zapcore.Core.
func (c oneLine) Check(e zapcore.Entry, checked *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if c.Enabled(e.Level) {
		return checked.AddCore(e, c)
	}
	return checked
}

// Write implements zapcore.Core.
func (c oneLine) Write(e zapcore.Entry, f []zapcore.Field) error {
	e.Message = printable(strings.ReplaceAll(e.Message, "\n", "; "))
	return c.Core.Write(e, f)
}
