package dnssec

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"mirrorpool/testdata/testbed"
)

// TestFullDisk changes keys with ever more space on a disk. Either all files change or none does, and what cannot be
// kept is not read again.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(k *Keys) *Keys{
		"a first key":   nil,
		"a rollover":    func(k *Keys) *Keys { return k },
		"its next step": func(k *Keys) *Keys { return k.Advance(seenBy(k), time.Hour) },
	} {
		t.Run(name, func(t *testing.T) {
			failed := 0
			for free := range 8 {
				disk := testbed.NewSmallDisk(t)
				if change == nil {
					failed += saveFirst(t, disk, free)
				} else {
					failed += saveChange(t, disk, free, change)
				}
			}
			if failed == 0 || failed == 8 {
				t.Errorf("%d of 8 attempts failed, want some", failed)
			}
		})
	}
}

// saveFirst makes the first key of a zone with so many blocks free, and returns 1 if it could not be kept.
func saveFirst(t *testing.T, disk *testbed.SmallDisk, free int) int {
	t.Helper()
	k, err := Read(testConfig(), disk.Dir, testNow)
	if err != nil {
		t.Fatal(err)
	}
	disk.Fill(t, free)
	err = k.Save()
	disk.Empty(t)
	if err == nil {
		return 0
	}
	if names := filesIn(t, disk.Dir); !errors.Is(err, syscall.ENOSPC) || names != "" {
		t.Errorf("with %d blocks: %v, %s is left", free, err, names)
	}
	if err := k.Save(); err != nil {
		t.Errorf("with space again: %v", err)
	}
	return 1
}

// saveChange is saveFirst for a change of a rollover.
func saveChange(t *testing.T, disk *testbed.SmallDisk, free int, change func(k *Keys) *Keys) int {
	t.Helper()
	before, err := read(testConfig(), disk.Dir, testNow)
	if err != nil {
		t.Fatal(err)
	}
	after, err := before.Roll("", testNow, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	if changed := change(after); changed != after {
		if err := after.Save(); err != nil {
			t.Fatal(err)
		}
		before, after = after, changed
	}
	names := filesIn(t, disk.Dir)
	disk.Fill(t, free)
	checked := after.CheckSave()
	err = after.Save()
	disk.Empty(t)
	if (checked == nil) != (err == nil) || checked != nil && checked.Error() != err.Error() {
		t.Errorf("with %d blocks: %v, and before: %v", free, err, checked)
	}
	got, readErr := Read(testConfig(), disk.Dir, testNow)
	switch {
	case readErr != nil:
		t.Errorf("with %d blocks: %v", free, readErr)
	case err == nil && phases(got, testNow.Add(time.Hour*1000)) != phases(after, testNow.Add(time.Hour*1000)):
		t.Errorf("with %d blocks: it is said to be kept, and is not", free)
	case err != nil && (!errors.Is(err, syscall.ENOSPC) || !sameKeys(got, before) || filesIn(t, disk.Dir) != names):
		t.Errorf("with %d blocks: %v; files %s, were %s", free, err, filesIn(t, disk.Dir), names)
	}
	if err == nil {
		return 0
	}
	if err := after.Save(); err != nil {
		t.Errorf("with space again: %v", err)
	}
	return 1
}

// sameKeys is Same, whatever the order of keys.
func sameKeys(a, b *Keys) bool {
	return len(a.All) == len(b.All) && phases(a, testNow.Add(1000*time.Hour)) == phases(b, testNow.Add(1000*time.Hour)) &&
		phases(a, testNow) == phases(b, testNow)
}

// filesIn is the names of all files below a folder.
func filesIn(t *testing.T, dir string) string {
	t.Helper()
	var names []string
	err := filepath.WalkDir(dir, func(path string, e os.DirEntry, err error) error {
		if err == nil && !e.IsDir() {
			names = append(names, filepath.Base(path))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(names, " ")
}

// TestNothingIsWrittenAnew starts again on a full disk: what is there already needs no space.
func TestNothingIsWrittenAnew(t *testing.T) {
	t.Parallel()
	disk := testbed.NewSmallDisk(t)
	if _, err := read(testConfig(), disk.Dir, testNow); err != nil {
		t.Fatal(err)
	}
	disk.Fill(t, 0)
	if _, err := read(testConfig(), disk.Dir, testNow); err != nil {
		t.Errorf("a start on a full disk: %v", err)
	}
	past := &Past{TTLs: TTLs{Longest: time.Hour}}
	if err := past.Keep(disk.Dir, testZone); !errors.Is(err, syscall.ENOSPC) || !strings.Contains(err.Error(), "cannot remember") {
		t.Errorf("what caches may have, on a full disk: %v", err)
	}
}
