package daemon

import (
	"fmt"
	"math/rand/v2"
)

// An op is an event in a sequence. What is random about it comes of seed, so that it is the same whatever else happens.
type op struct {
	kind opKind
	seed uint64
}

type opKind int

const (
	editPool opKind = iota
	breakPool
	changeSome
	changeAll
	changeNames
	changeResolver
	passTime
	stepClock
	restart
	crash
	calm
	opKinds
)

var opNames = [opKinds]string{"edit the pool", "publish a bad pool", "some endpoints change", "all endpoints change",
	"DNS changes", "the resolver changes",
	"time passes", "the clock steps", "restart", "crash", "calm"}

func describeOps(ops []op) []string {
	var lines []string
	for _, o := range ops {
		lines = append(lines, fmt.Sprintf("  {%d, %d}, // %s", o.kind, o.seed, opNames[o.kind]))
	}
	return lines
}

func randomOps(seed uint64) []op {
	r := rand.New(rand.NewPCG(seed, 1))
	kinds := []opKind{editPool, editPool, editPool, breakPool, changeSome, changeSome, changeSome, changeAll, changeNames,
		changeResolver, passTime, passTime,
		passTime, stepClock, restart, restart, crash, calm, calm}
	ops := make([]op, 12+r.IntN(24))
	for i := range ops {
		ops[i] = op{kinds[r.IntN(len(kinds))], r.Uint64()}
	}
	return append(ops, op{calm, 0})
}
