package daemon

import "testing"

func TestGarbagePercent(t *testing.T) {
	t.Parallel()
	for live, want := range map[uint64]int{0: 300, 10 << 20: 300, 20 << 20: 150, 32 << 20: 100, 64 << 20: 50, 10 << 30: 50} {
		if got := garbagePercent(live); got != want {
			t.Errorf("with %d MiB in use: %d %%, want %d %%", live>>20, got, want)
		}
	}
}
