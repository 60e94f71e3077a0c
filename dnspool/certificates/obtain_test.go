package certificates

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"mirrorpool/config"
)

// TestDamagedFiles has each file of a saved certificate damaged: it is set aside. Another certificate is ordered,
// unless the damaged file is the metadata.
func TestDamagedFiles(t *testing.T) {
	t.Parallel()
	for _, ending := range []string{".crt", ".key", ".json"} {
		for _, text := range []string{"", "garbled"} {
			dir := t.TempDir()
			synctest.Test(t, func(t *testing.T) {
				core, logs := observer.New(zap.WarnLevel)
				authority := newSimulatedAuthority(t)
				acme, stop := runSimulated(t, dir, authority, zap.New(core))
				synctest.Wait()
				first := serves(t, acme, authority, false)
				stop()
				file := filepath.Join(dir, "certificates", "simulated", authority.name, authority.name+ending)
				if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
				acme, stop = runSimulated(t, dir, authority, zap.New(core))
				defer stop()
				synctest.Wait()
				if next := serves(t, acme, authority, false); first == 0 || (next == first) != (ending == ".json") {
					t.Errorf("%s %q: certificate %d, then %d", ending, text, first, next)
				}
				if aside, err := os.ReadFile(file + ".bad"); err != nil || string(aside) != text {
					t.Errorf("%s %q: set aside is %q, %v", ending, text, aside, err)
				}
				lines := logs.FilterMessage("set a damaged file of a certificate aside").All()
				if len(lines) != 1 || !strings.Contains(lines[0].ContextMap()["file"].(string), file) {
					t.Errorf("%s %q: the log does not name the file: %v", ending, text, lines)
				}
			})
		}
	}
}

// TestReloadTriesNow has a reload without changes try a certificate that is missing, and one that is due, at once.
func TestReloadTriesNow(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		authority := newSimulatedAuthority(t)
		acme, stop := runSimulated(t, dir, authority, zap.NewNop())
		defer stop()
		reload := func(want int64, ended bool) {
			t.Helper()
			before := authority.asked.Load()
			authority.down.Store(false)
			if err := acme.SetConfig(&config.ACME{Names: []string{authority.name}}); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			if got := serves(t, acme, authority, ended); got != want || authority.asked.Load() != before+1 {
				t.Errorf("certificate %d is served, want %d; asked %d times", got, want, authority.asked.Load()-before)
			}
			if problem := acme.Status()[0].Problem; problem != "" {
				t.Errorf("problem: %s", problem)
			}
		}
		authority.down.Store(true)
		time.Sleep(40 * day)
		if authority.asked.Load() < 40*3 {
			t.Errorf("asked %d times in 40 days", authority.asked.Load())
		}
		reload(2, false)
		authority.down.Store(true)
		time.Sleep(70 * day)
		reload(3, false)
	})
}

// TestFailedOrdersInTheLog has a first order fail, and a renewal: the log says which it is, without certmagic's words.
func TestFailedOrdersInTheLog(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		core, logs := observer.New(zap.ErrorLevel)
		authority := newSimulatedAuthority(t)
		authority.down.Store(true)
		acme, stop := runSimulated(t, dir, authority, zap.New(core))
		defer stop()
		check := func(message string) {
			t.Helper()
			synctest.Wait()
			const want = "the authority is down"
			lines := logs.FilterMessageSnippet("cannot ").All()
			if len(lines) == 0 || lines[0].Message != message || lines[0].ContextMap()["error"] != want {
				t.Errorf("in the log: %v", lines)
			}
			if problem := acme.Status()[0].Problem; problem != want {
				t.Errorf("problem: %s", problem)
			}
		}
		check("cannot get a certificate")
		authority.down.Store(false)
		time.Sleep(61 * day)
		authority.down.Store(true)
		time.Sleep(60 * day)
		logs.TakeAll()
		if err := acme.SetConfig(&config.ACME{Names: []string{authority.name}}); err != nil {
			t.Fatal(err)
		}
		check("cannot renew a certificate")
	})
}

// TestCancelledOrders: a reload leaves an order for a name that stays alone; one for a name that goes, and a stop, end
// orders without errors in the log.
func TestCancelledOrders(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		core, logs := observer.New(zap.ErrorLevel)
		authority := newSimulatedAuthority(t)
		authority.hangs.Store(true)
		acme, stop := runSimulated(t, dir, authority, zap.New(core))
		synctest.Wait()
		for _, step := range []struct {
			names []string
			asked int64
		}{
			{[]string{authority.name, "other.example.org"}, 2},
			{[]string{"other.example.org"}, 2},
			{[]string{"other.example.org", authority.name}, 3},
		} {
			if err := acme.SetConfig(&config.ACME{Names: step.names}); err != nil {
				t.Fatal(err)
			}
			time.Sleep(10 * time.Second) // the lock on a name is looked at each second
			synctest.Wait()
			if got := authority.asked.Load(); got != step.asked {
				t.Errorf("%v: the authority was asked %d times, want %d", step.names, got, step.asked)
			}
		}
		stop()
		for _, line := range logs.All() {
			t.Errorf("in the log: %s %v", line.Message, line.ContextMap())
		}
		if problem := acme.Status()[0].Problem; problem != "" {
			t.Errorf("problem: %s", problem)
		}
	})
}
