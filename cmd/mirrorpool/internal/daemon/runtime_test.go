package daemon

import (
	"slices"
	"testing"
	"testing/fstest"
	"testing/synctest"
	"time"
)

func TestGarbagePercent(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		live uint64 // MiB
		rate float64
		want int
	}{
		{0, 0, 25}, {7, 0, 25}, {8, 0, 50}, {10, 0, 50}, {64, 0, 50}, {65, 0, 25}, {128, 0, 25}, {10 << 10, 0, 25},
		{10, busyRate, 50}, {10, busyRate + 1, 300}, {2, 1e9, 800}, {1, 1e9, 800}, {20, 1e9, 150}, {64, 1e9, 50}, {128, 1e9, 25},
	} {
		if got := garbagePercent(test.live<<20, test.rate); got != test.want {
			t.Errorf("with %d MiB in use, and %g bytes a second: %d %%, want %d %%", test.live, test.rate, got, test.want)
		}
	}
}

// TestCollector has a new list of mirrors taken over by a server with much in use, and by one that is busy.
func TestCollector(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var set []int
		c := collector{apply: func(percent int) int { set = append(set, percent); return 0 }}
		c.expectList()
		c.adjust(128<<20, 0)
		if len(set) > 0 {
			t.Errorf("set to %v before the start, or although the environment says otherwise", set)
		}
		time.Sleep(listTime)
		c.start()
		c.adjust(128<<20, 0)
		c.expectList()
		c.adjust(128<<20, 0)
		time.Sleep(listTime)
		c.adjust(128<<20, 0)
		c.adjust(2<<20, 1e9)
		c.expectList()
		if want := []int{25, 200, 25, 800}; !slices.Equal(set, want) {
			t.Errorf("set to %v, want %v", set, want)
		}
	})
}

// TestGatherFor has changes wait for longer in large pools only.
func TestGatherFor(t *testing.T) {
	t.Parallel()
	for mirrors, want := range map[int]time.Duration{
		0: 20 * time.Millisecond, 500: 20 * time.Millisecond, 1000: 40 * time.Millisecond, 10_000: 400 * time.Millisecond,
	} {
		if got := gatherFor(mirrors); got != want {
			t.Errorf("with %d mirrors: %v, want %v", mirrors, got, want)
		}
	}
}

// TestSmooth has bursts and a steady rate: a page that is read now and then does not count as a load.
func TestSmooth(t *testing.T) {
	t.Parallel()
	burst, steady := 0.0, 0.0
	for look := range 300 {
		now := 0.0
		if look%100 < 10 {
			now = 50 << 20
		}
		burst, steady = smooth(burst, now), smooth(steady, 40<<20)
		if burst > busyRate {
			t.Errorf("after %d looks, ten of 100 with 50 MiB a second are %g MiB", look+1, burst/(1<<20))
		}
	}
	if steady < busyRate {
		t.Errorf("a steady 40 MiB a second are %g MiB after 300 looks", steady/(1<<20))
	}
}

func TestMemoryLimit(t *testing.T) {
	t.Parallel()
	const unit = "sys/fs/cgroup/system.slice/mirrorpool.service/memory.max"
	for name, test := range map[string]struct {
		files map[string]string
		want  int64
	}{
		"no control groups":      {nil, 0},
		"version 1":              {map[string]string{"proc/self/cgroup": "4:memory:/a\n"}, 0},
		"no limit":               {map[string]string{"proc/self/cgroup": "0::/system.slice/mirrorpool.service\n", unit: "max\n"}, 0},
		"a limit":                {map[string]string{"proc/self/cgroup": "0::/system.slice/mirrorpool.service\n", unit: "1000\n"}, 1000},
		"beside version 1":       {map[string]string{"proc/self/cgroup": "1:cpu:/\n0::/system.slice/mirrorpool.service\n", unit: "1000\n"}, 1000},
		"a container's own root": {map[string]string{"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/memory.max": "3000\n"}, 3000},
		"a lower one around it": {map[string]string{"proc/self/cgroup": "0::/system.slice/mirrorpool.service\n", unit: "1000\n",
			"sys/fs/cgroup/system.slice/memory.max": "500\n"}, 500},
		"a higher one around it": {map[string]string{"proc/self/cgroup": "0::/system.slice/mirrorpool.service\n", unit: "1000\n",
			"sys/fs/cgroup/system.slice/memory.max": "5000\n"}, 1000},
		"a group out of sight": {map[string]string{"proc/self/cgroup": "0::/../other\n", "sys/fs/cgroup/memory.max": "7\n"}, 7},
	} {
		root := fstest.MapFS{}
		for path, text := range test.files {
			root[path] = &fstest.MapFile{Data: []byte(text)}
		}
		if got := memoryLimit(root); got != test.want {
			t.Errorf("%s: %d, want %d", name, got, test.want)
		}
	}
}
