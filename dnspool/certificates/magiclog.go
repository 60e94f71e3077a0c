package certificates

import (
	"context"
	"errors"
	"strings"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// magicLog is the logger of certmagic. Below errors it logs each step.
func (a *ACME) magicLog() *zap.Logger {
	return a.o.Log.WithOptions(zap.IncreaseLevel(zap.ErrorLevel), zap.WrapCore(func(c zapcore.Core) zapcore.Core {
		return magicCore{c}
	}))
}

// A magicCore drops entries on what a stop or a reload has cancelled, and on what an issuer logs.
type magicCore struct{ zapcore.Core }

// With is described at [zapcore.Core].
func (c magicCore) With(fields []zap.Field) zapcore.Core {
	return magicCore{c.Core.With(fields)}
}

// Check is described at [zapcore.Core].
func (c magicCore) Check(e zapcore.Entry, checked *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if c.Enabled(e.Level) {
		return checked.AddCore(e, c)
	}
	return checked
}

// Write is described at [zapcore.Core].
func (c magicCore) Write(e zapcore.Entry, fields []zap.Field) error {
	if e.Message == "failed updating renewal info from ACME CA" {
		return nil
	}
	for _, f := range fields {
		err, ok := f.Interface.(error)
		if ok && (errors.Is(err, context.Canceled) || strings.HasPrefix(err.Error(), "could not fully update ACME renewal info")) {
			return nil
		}
	}
	return c.Core.Write(e, fields)
}
