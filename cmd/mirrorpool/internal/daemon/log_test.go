package daemon

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"mirrorpool/config"
)

// minutes is a clock that tests move.
type minutes struct{ now time.Time }

func (m *minutes) Now() time.Time                       { return m.now }
func (m *minutes) NewTicker(time.Duration) *time.Ticker { return nil }

func TestRepeats(t *testing.T) {
	t.Parallel()
	seen, lines := observer.New(zapcore.InfoLevel)
	clock := &minutes{time.Unix(1_800_000_000, 0)}
	log := zap.New(holdRepeats(seen), zap.WithClock(clock))
	for range 100 {
		log.Warn("cannot write", zap.String("file", "a"))
		log.Debug("below the level")
	}
	for i := range 100 {
		log.Info("endpoint changed state", zap.Int("mirror", i))
		log.With(zap.Int("mirror", i)).Info("endpoint changed state too")
	}
	if same, different := lines.FilterMessage("cannot write").Len(), lines.FilterMessageSnippet("endpoint "+
		"changed").Len(); same != mostRepeats || different != 200 {
		t.Errorf("%d lines that say the same, want %d, and %d that do not, want 200", same, mostRepeats, different)
	}
	clock.now = clock.now.Add(repeatTime)
	log.Warn("cannot write", zap.String("file", "a"))
	if n := lines.FilterMessage("cannot write").Len(); n != mostRepeats+1 {
		t.Errorf("%d lines after a minute, want one more", n)
	}
	if left := lines.FilterMessageSnippet("left out").All(); len(left) != 1 ||
		left[0].ContextMap()["lines"] != int64(100-mostRepeats) {
		t.Errorf("%v was left out", left)
	}
	for i := range 2 * mostKinds {
		log.Info("of many kinds", zap.Int("kind", i))
	}
	if n := lines.FilterMessage("of many kinds").Len(); n != 2*mostKinds {
		t.Errorf("%d of %d different lines", n, 2*mostKinds)
	}
}

func TestLogFormats(t *testing.T) {
	t.Parallel()
	for format, want := range map[string]string{"json": `"msg":"hello","mirror":"m1"}`,
		"console": "INFO\thello\t{\"mirror\": \"m1\"}"} {
		var out bytes.Buffer
		log, level, err := NewLogger(config.Log{Level: "info", Format: format}, &out)
		if err != nil {
			t.Fatal(err)
		}
		log.Info("hello", zap.String("mirror", "m1"))
		log.Debug("quiet")
		level.SetLevel(zap.DebugLevel)
		log.Debug("loud")
		if text := out.String(); !strings.Contains(text, want) || strings.Contains(text, "quiet") || !strings.Contains(text, "loud") {
			t.Errorf("%s: %s", format, text)
		}
	}
}

func TestStopIsLogged(t *testing.T) {
	t.Parallel()
	seen, lines := observer.New(zapcore.DebugLevel)
	logStop(zap.New(seen), nil)
	logStop(zap.New(seen), errors.New("cannot listen"))
	all := lines.FilterMessage("stopped").All()
	if len(all) != 2 || all[0].Level != zapcore.InfoLevel || all[1].Level != zapcore.ErrorLevel ||
		all[1].ContextMap()["error"] != "cannot listen" {
		t.Errorf("%v", all)
	}
}

// TestPanicIsLogged wants a warning when panic begins, and a notice when it is over.
func TestPanicIsLogged(t *testing.T) {
	t.Parallel()
	seen, lines := observer.New(zapcore.DebugLevel)
	for _, change := range [][2]bool{{false, false}, {false, true}, {true, true}, {true, false}} {
		logPanic(zap.New(seen), change[0], change[1])
	}
	all := lines.All()
	if len(all) != 2 || all[0].Level != zapcore.WarnLevel || !strings.HasPrefix(all[0].Message, "panic: ") ||
		all[1].Level != zapcore.InfoLevel || all[1].Message != "panic is over" {
		t.Errorf("%v", all)
	}
}
