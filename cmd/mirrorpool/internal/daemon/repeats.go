package daemon

import (
	"sync"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

const (
	repeatTime  = time.Minute
	mostRepeats = 5    // lines that are the same but for the time, in repeatTime
	mostKinds   = 4096 // of different lines counted in repeatTime
)

// A repeatCore holds back lines that say the same again and again, so that what fails every second does not fill the
// disk. Lines that differ in anything but the time are different: a thousand mirrors that change their state have a
// line each.
type repeatCore struct {
	zapcore.Core
	fields []zapcore.Field // given by With
	*repeats
}

// repeats are the lines of the last minute, of all cores that come from one.
type repeats struct {
	encoder zapcore.Encoder
	mu      sync.Mutex
	began   time.Time
	seen    map[string]int
	held    int
}

func holdRepeats(core zapcore.Core) zapcore.Core {
	encoder := zapcore.NewJSONEncoder(zapcore.EncoderConfig{MessageKey: "m", LevelKey: "l",
		EncodeLevel: zapcore.LowercaseLevelEncoder, EncodeDuration: zapcore.NanosDurationEncoder})
	return &repeatCore{Core: core, repeats: &repeats{encoder: encoder, seen: map[string]int{}}}
}

// With returns a core with more fields.
func (c *repeatCore) With(fields []zapcore.Field) zapcore.Core {
	return &repeatCore{c.Core.With(fields), append(c.fields[:len(c.fields):len(c.fields)], fields...), c.repeats}
}

// Check adds the core to those who write an entry, if its level is wanted.
func (c *repeatCore) Check(e zapcore.Entry, ce *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if c.Enabled(e.Level) {
		return ce.AddCore(e, c)
	}
	return ce
}

// Write writes an entry, unless it has been written often enough. How many were held back it says when the minute is
// over.
func (c *repeatCore) Write(e zapcore.Entry, fields []zapcore.Field) error {
	write, held := c.admit(e, append(c.fields[:len(c.fields):len(c.fields)], fields...))
	if held > 0 {
		note := zapcore.Entry{Level: zapcore.WarnLevel, Time: e.Time, Message: "lines that said the same were left out"}
		if err := c.Core.Write(note, []zapcore.Field{zap.Int("lines", held)}); err != nil {
			return err
		}
	}
	if !write {
		return nil
	}
	return c.Core.Write(e, fields)
}

// admit reports whether an entry is to be written, and how many were held back in a minute that is over.
func (r *repeats) admit(e zapcore.Entry, fields []zapcore.Field) (write bool, held int) {
	text, err := r.encoder.EncodeEntry(zapcore.Entry{Level: e.Level, Message: e.Message}, fields)
	if err != nil {
		return true, 0
	}
	key := text.String()
	text.Free()
	r.mu.Lock()
	defer r.mu.Unlock()
	if e.Time.Sub(r.began) >= repeatTime || e.Time.Before(r.began) {
		held = r.held
		r.began, r.held = e.Time, 0
		clear(r.seen)
	}
	if n, known := r.seen[key]; known || len(r.seen) < mostKinds {
		r.seen[key] = n + 1
	}
	if r.seen[key] > mostRepeats {
		r.held++
		return false, held
	}
	return true, held
}
