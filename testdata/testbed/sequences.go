package testbed

import (
	"fmt"
	"math/rand/v2"
	"os"
	"testing"
)

// Sequences returns how many random sequences a model test runs, and the seed of the first: usual ones from 1 on, which
// are the same each time, so that a change that breaks a rule is the one to blame; with [Long] a thousand other ones;
// few under the race detector; and the one that MODEL_SEED names.
func Sequences(t testing.TB, usual int) (count int, seed uint64) {
	t.Helper()
	count, seed = usual, 1
	switch {
	case Long():
		count, seed = 1000, rand.Uint64()
	case Race, testing.Short():
		count = 6
	}
	if text := os.Getenv("MODEL_SEED"); text != "" {
		count = 1
		if _, err := fmt.Sscan(text, &seed); err != nil {
			t.Fatalf("MODEL_SEED: %v", err)
		}
	}
	return count, seed
}
