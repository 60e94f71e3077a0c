package daemon

import (
	"testing"
	"testing/fstest"
)

func TestGarbagePercent(t *testing.T) {
	t.Parallel()
	for live, want := range map[uint64]int{0: 50, 10 << 20: 50, 64 << 20: 50, 65 << 20: 25, 128 << 20: 25, 10 << 30: 25} {
		if got := garbagePercent(live); got != want {
			t.Errorf("with %d MiB in use: %d %%, want %d %%", live>>20, got, want)
		}
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
