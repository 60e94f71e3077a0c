package source

import (
	"errors"
	"fmt"

	"go.uber.org/zap"

	"mirrorpool/config"
)

const (
	maxTold   = 10 // faults of a list in a status or a log line; `mirrorpool check` prints all
	maxLogged = 50 // lines of a change in a log line
)

// summary is err, cut to a length that can be read in a log.
func summary(err error) error {
	var refused *RefusedError
	if errors.As(err, &refused) {
		err = refused.Err
	}
	list := config.Errors(err)
	if len(list) <= maxTold {
		return err
	}
	s := list[0].Error()
	for _, e := range list[1:maxTold] {
		s += "\n" + e.Error()
	}
	return fmt.Errorf("%s\nand %d more: mirrorpool check prints all", s, len(list)-maxTold)
}

func (l *List) logApplied(pool *config.Pool, r Result) {
	if l.o.Text == nil { // a list in memory was written by the program
		for _, group := range config.GroupWarnings(r.Warnings) {
			l.o.Log.Warn("suspicious list of mirrors", zap.Error(group.First), zap.String("kind", string(group.First.Kind)),
				zap.Int("more_of_this_kind", group.More))
		}
	}
	fields := []zap.Field{zap.String("source", l.o.Source), zap.Int("mirrors", len(pool.Mirrors)),
		zap.Int("enabled", pool.EnabledMirrors())}
	if l.pool == nil {
		l.o.Log.Info("list of mirrors is loaded", fields...)
		return
	}
	l.o.Log.Info("list of mirrors has changed", append(fields, changeFields(&r.Change)...)...)
}

func changeFields(c *config.Change) []zap.Field {
	lines := c.Lines()
	fields := []zap.Field{
		zap.Int("added", len(c.Added)), zap.Int("removed", len(c.Removed)), zap.Int("reweighted", len(c.Weights)),
		zap.Int("readdressed", len(c.Addresses)), zap.Int("otherwise_changed", len(c.Other)),
	}
	if len(lines) > maxLogged {
		fields = append(fields, zap.Int("changes_not_shown", len(lines)-maxLogged))
		lines = lines[:maxLogged]
	}
	return append(fields, zap.Strings("changes", lines))
}
