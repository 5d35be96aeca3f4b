package main

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"go.uber.org/zap"
)

// TestLog shows that an entry is one line, that nothing in it commands a terminal, and that a message that comes again and again stops.
func TestLog(t *testing.T) {
	var b bytes.Buffer
	log := newLog(&b, zap.NewAtomicLevelAt(zap.InfoLevel)).Named("x").With(zap.String("with", "a\nb"))
	log.Info("first\nsecond \x1b[2J", zap.String("field", "c\nd\x1b"))
	log.Debug("not at this level")
	if text := b.String(); strings.Count(text, "\n") != 1 || !strings.Contains(text, "first; second ?[2J") || !strings.Contains(text, `"field": "c\nd\u001b"`) || !strings.Contains(text, `"with": "a\nb"`) {
		t.Errorf("log %q", text)
	}
	b.Reset()
	for range 1000 {
		log.Warn("again and again")
	}
	for i := range 100 {
		log.Warn(fmt.Sprintf("something else %d", i))
	}
	// A minute may end in between.
	if text := b.String(); strings.Count(text, "again and again") < logRepeat || strings.Count(text, "again and again") > 2*logRepeat || strings.Count(text, "something else") != 100 {
		t.Errorf("%d of 1000 and %d of 100 lines", strings.Count(text, "again and again"), strings.Count(text, "something else"))
	}
}
