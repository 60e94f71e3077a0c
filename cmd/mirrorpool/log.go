package main

import (
	"fmt"
	"io"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"mirrorpool/config"
)

// newLogger returns a logger that writes to w what c asks for, and its level, which can be changed.
func newLogger(c config.Log, w io.Writer) (*zap.Logger, zap.AtomicLevel, error) {
	level, err := zap.ParseAtomicLevel(c.Level)
	if err != nil {
		return nil, level, fmt.Errorf("log level %q: %w", c.Level, err)
	}
	var encoder zapcore.Encoder
	if c.Format == "console" {
		settings := zap.NewDevelopmentEncoderConfig()
		settings.EncodeTime = zapcore.TimeEncoderOfLayout("15:04:05")
		encoder = zapcore.NewConsoleEncoder(settings)
	} else {
		settings := zap.NewProductionEncoderConfig()
		settings.EncodeTime = zapcore.RFC3339NanoTimeEncoder
		encoder = zapcore.NewJSONEncoder(settings)
	}
	return zap.New(holdRepeats(zapcore.NewCore(encoder, zapcore.Lock(zapcore.AddSync(w)), level))), level, nil
}
