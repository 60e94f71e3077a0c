package source

import (
	"bytes"
	"fmt"

	"mirrorpool/config"
)

// A judgement is what is to become of a list that was read. Result.Applied says that it should be put in force.
type judgement struct {
	Result
	old  bool         // it is the list in force
	back bool         // it is the list that was in force before
	pool *config.Pool // that it holds, if it is new and may be put in force
}

// judge decides what is to become of a list that was read, and changes nothing.
func (l *List) judge(d *document, keys *publicKeys, confirm bool) judgement {
	var outdated error
	if keys != nil {
		outdated = keys.outdated(l.inForce, d, l.status.Loaded)
	}
	switch {
	case d.same(l.inForce), outdated != nil && d.sameList(l.inForce):
		return judgement{old: true, Result: Result{Change: config.Compare(l.pool, l.pool)}}
	case outdated != nil:
		return judgement{Result: Result{Err: outdated}} // what is held waits on: this may be a cache that is behind
	}
	if l.onNewText != nil {
		l.onNewText()
	}
	pool, warnings, err := config.ParsePoolIn(l.o.Source, d.list.data, l.settings.DNS)
	if err != nil {
		return judgement{Result: Result{Err: &RefusedError{err}}}
	}
	before := l.pool
	if before == nil {
		before = &config.Pool{}
	}
	j := judgement{pool: pool, Result: Result{Change: config.Compare(before, pool), Warnings: warnings}}
	decision := l.guard(d, pool)
	switch {
	case decision.Ruling == config.GuardRefuse:
		return judgement{Result: Result{Err: refuse("%s: %v", l.o.Source, decision)}}
	case decision.Ruling == config.GuardHold && l.replaced != nil && bytes.Equal(l.replaced, sumOf(d)):
		j.Applied, j.back = true, true // to go back must be as easy as it was to go on
	case decision.Ruling == config.GuardHold && !(confirm && (l.held == nil || l.held.same(d))):
		j.Held, j.Err = &decision, l.heldError(decision, confirm)
	default:
		j.Applied = l.pool == nil || !j.Change.Empty()
	}
	return j
}

// guard is what the guard says of the pool in d. What it has held back before the start it holds back until health is
// known.
func (l *List) guard(d *document, pool *config.Pool) config.Decision {
	works, now := l.works()
	decision := config.Guard(l.pool, pool, l.settings.Guard, works)
	if !now && decision.Ruling == config.GuardPass && l.settings.Guard > 0 && l.marked.matches(d) {
		decision = l.marked.Decision
		decision.Ruling = config.GuardHold
	}
	return decision
}

// heldError says how to confirm an update that is held back.
func (l *List) heldError(decision config.Decision, confirm bool) error {
	if confirm {
		return fmt.Errorf("%s: changed since it was held back, and held back again: %v; if it is meant, confirm it once more",
			l.o.Source, decision)
	}
	return fmt.Errorf("%s: held back: %v; if it is meant, confirm it: mirrorpool reload --confirm", l.o.Source, decision)
}
