package dnssec

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"mirrorpool/config"
	"mirrorpool/config/statefile"
	"mirrorpool/testdata/testbed"
)

// TestOtherZonesAreRemembered serves another zone for a while. What signed the first is still known: without its keys,
// no new ones are made.
func TestOtherZonesAreRemembered(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	first, second := testConfig(), testConfig()
	second.Zone = "other.example."
	for range 2 {
		if _, err := read(first, dir, testNow); err != nil {
			t.Fatal(err)
		}
		if _, err := read(second, dir, testNow); err != nil {
			t.Fatal(err)
		}
	}
	if !WasSigned(dir, first.Zone) || !WasSigned(dir, second.Zone) {
		t.Error("one of two zones is forgotten")
	}
	files, err := filepath.Glob(filepath.Join(dir, keysFolder, "K"+first.Zone+"*"))
	if err != nil || len(files) != 2 {
		t.Fatal(files, err)
	}
	for _, file := range files {
		if err := os.Remove(file); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := read(first, dir, testNow); err == nil || !strings.Contains(err.Error(), "put them back from a backup") {
		t.Errorf("with the first zone again, without its key: %v", err)
	}
	if _, err := read(second, dir, testNow); err != nil {
		t.Errorf("with the second zone: %v", err)
	}
}

// TestMemory remembers each zone once, the last first, and not too many.
func TestMemory(t *testing.T) {
	t.Parallel()
	m := memory{signers: signers{Zone: "a.", Keys: []string{"1"}}} // as files of earlier versions have it
	if first := new(memory).with(m.signers); len(first.Before) > 0 {
		t.Errorf("besides the first zone, %v is remembered", first.Before)
	}
	for i := range 2 * maxBefore {
		m = m.with(signers{Zone: fmt.Sprintf("%d.", i%(maxBefore+10)), Keys: []string{fmt.Sprint(i)}})
	}
	m = m.with(signers{Zone: "b.", Keys: []string{"2"}})
	m = m.with(signers{Zone: "b.", Keys: []string{"3"}})
	if s := m.of("b."); len(m.Before) != maxBefore || m.Zone != "b." || s.Keys[0] != "3" || len(m.of("a.").Keys) != 0 {
		t.Errorf("%d zones besides %v", len(m.Before), m.signers)
	}
	if s := m.of("89."); len(s.Keys) != 1 || s.Keys[0] != "199" {
		t.Errorf("the zone before is remembered as %v", s)
	}
	if m = m.without("b."); len(m.of("b.").Keys) != 0 || len(m.Before) != maxBefore {
		t.Errorf("%v", m.of("b."))
	}
}

// TestForget forgets one zone, and writes no file where there is nothing to forget.
func TestForget(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := Forget(dir, testZone); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(SignersFile(dir)); err == nil {
		t.Error("a file was written where nothing was remembered")
	}
	other := testConfig()
	other.Zone = "other.example."
	for _, zone := range []config.DNS{other, testConfig()} {
		if _, err := read(zone, dir, testNow); err != nil {
			t.Fatal(err)
		}
	}
	if err := Forget(dir, testZone); err != nil || WasSigned(dir, testZone) || !WasSigned(dir, other.Zone) {
		t.Errorf("%v; want one of two zones to be forgotten", err)
	}
	testbed.Put(t, SignersFile(dir), "garbage")
	for range 2 {
		if err := Forget(dir, testZone); err != nil || WasSigned(dir, testZone) {
			t.Errorf("a file of no use: %v", err)
		}
	}
	if got := readText(t, SignersFile(dir)+statefile.Aside); got != "garbage" {
		t.Errorf("a file of no use is set aside as %q", got)
	}
}

// TestKeysCannotBeKept wants an error, and nothing to be remembered, where there is no place for key files.
func TestKeysCannotBeKept(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	k, err := Read(testConfig(), dir, testNow)
	if err != nil {
		t.Fatal(err)
	}
	testbed.Put(t, filepath.Join(dir, keysFolder), "a file")
	if err := k.Save(); err == nil || !strings.Contains(err.Error(), "cannot keep the keys of "+testZone) {
		t.Errorf("with a file in the place of the folder: %v", err)
	}
	if WasSigned(dir, testZone) {
		t.Error("keys are remembered that were not kept")
	}
}

// TestMakesFirstKey is about starts of which nothing before is known.
func TestMakesFirstKey(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		change func(c *config.DNS, dir string) error
		want   bool
	}{
		"the first start": {func(*config.DNS, string) error { return nil }, true},
		"unsigned":        {func(c *config.DNS, _ string) error { c.DNSSEC = nil; return nil }, false},
		"listed keys": {func(c *config.DNS, _ string) error {
			c.DNSSEC = &config.DNSSEC{Keys: []string{"Kdl.example.org.+013+1.key"}}
			return nil
		}, false},
		"other signers": {func(c *config.DNS, _ string) error {
			changed := *c.DNSSEC
			changed.OtherKeys = []string{"other.key"}
			c.DNSSEC = &changed
			return nil
		}, false},
		"signed before": {func(c *config.DNS, dir string) error { _, err := read(*c, dir, testNow); return err }, false},
		"a key is there": {func(c *config.DNS, dir string) error {
			if _, err := read(*c, dir, testNow); err != nil {
				return err
			}
			return os.Remove(filepath.Join(dir, "dnssec"))
		}, false},
	} {
		c, dir := testConfig(), t.TempDir()
		if err := test.change(&c, dir); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if got := MakesFirstKey(c, dir); got != test.want {
			t.Errorf("%s: %v, want %v", name, got, test.want)
		}
	}
}
