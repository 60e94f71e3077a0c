package daemon

import (
	"fmt"
	"io"
	"os"
	"strings"

	"go.uber.org/zap"
	"go.uber.org/zap/buffer"
	"go.uber.org/zap/zapcore"

	"mirrorpool/cmd/mirrorpool/internal/term"
	"mirrorpool/config"
)

// NewLogger returns a logger that writes to w what c asks for, and its level, which can be changed.
func NewLogger(c config.Log, w io.Writer) (*zap.Logger, zap.AtomicLevel, error) {
	level, err := zap.ParseAtomicLevel(c.Level)
	if err != nil {
		return nil, level, fmt.Errorf("log level %q: %w", c.Level, err)
	}
	encoder := &lineEncoder{Encoder: newEncoder(c.Format, w), journal: isJournal(w, os.Getenv("JOURNAL_STREAM"))}
	return zap.New(holdRepeats(zapcore.NewCore(encoder, zapcore.Lock(zapcore.AddSync(w)), level))), level, nil
}

// newEncoder returns the encoder for a log.format; "auto" is text for a person at a terminal, and else JSON.
func newEncoder(format string, w io.Writer) zapcore.Encoder {
	if format == "console" || format == "auto" && term.IsTerminal(w) {
		settings := zap.NewDevelopmentEncoderConfig()
		settings.EncodeTime = zapcore.TimeEncoderOfLayout("15:04:05")
		return zapcore.NewConsoleEncoder(settings)
	}
	settings := zap.NewProductionEncoderConfig()
	settings.EncodeTime = zapcore.RFC3339NanoTimeEncoder
	return zapcore.NewJSONEncoder(settings)
}

// A lineEncoder makes each entry one printable line, whatever a mirror has put into it.
type lineEncoder struct {
	zapcore.Encoder
	journal bool // begin each line with its priority, see sd-daemon(3)
}

// Clone copies the encoder with the fields that were added to it.
func (e *lineEncoder) Clone() zapcore.Encoder { return &lineEncoder{e.Encoder.Clone(), e.journal} }

var linePool = buffer.NewPool()

// EncodeEntry encodes an entry and its fields.
func (e *lineEncoder) EncodeEntry(entry zapcore.Entry, fields []zapcore.Field) (*buffer.Buffer, error) {
	text, err := e.Encoder.EncodeEntry(entry, fields)
	if err != nil {
		return nil, err
	}
	defer text.Free()
	line := linePool.Get()
	if e.journal {
		fmt.Fprintf(line, "<%d>", priority(entry.Level))
	}
	line.AppendString(config.PrintableLines(strings.TrimSuffix(text.String(), "\n")))
	line.AppendByte('\n')
	return line, nil
}

// priority is a level as syslog(3) numbers it.
func priority(level zapcore.Level) int {
	switch {
	case level >= zapcore.ErrorLevel:
		return 3
	case level == zapcore.WarnLevel:
		return 4
	case level == zapcore.InfoLevel:
		return 6
	default:
		return 7
	}
}

// logWarnings logs the warnings about a configuration, those of one kind in one line.
func logWarnings(log *zap.Logger, warnings []*config.Error) {
	for _, group := range config.GroupWarnings(warnings) {
		log.Warn("suspicious configuration", zap.Error(group.First), zap.String("kind", string(group.First.Kind)),
			zap.Int("more_of_this_kind", group.More))
	}
}

// logPanic logs that panic has begun or ended, if it has.
func logPanic(log *zap.Logger, before, now bool) {
	switch {
	case now && !before:
		log.Warn("panic: too few mirrors are up, others are served too")
	case before && !now:
		log.Info("panic is over")
	}
}

// logStop logs that the daemon has stopped: as an error if it was not asked to.
func logStop(log *zap.Logger, err error) {
	if err != nil {
		log.Error("stopped", zap.Error(err))
		return
	}
	log.Info("stopped")
}
