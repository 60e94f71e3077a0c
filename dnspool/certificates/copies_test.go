package certificates

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
)

// TestUpgradeWaits: beside another copy of the program, a new one makes no order that needs our own zone, until the
// other has ended or for 10 minutes; orders with other challenges do not wait. To wait is no failure to log.
func TestUpgradeWaits(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name   string
		reach  Reach
		ends   bool
		waits  bool
		within time.Duration // of its start, or of the other's end
	}{
		{"the other ends", Reach{OwnZone: true}, true, true, time.Minute},
		{"the other stays", Reach{OwnZone: true}, false, true, 6 * time.Minute},
		{"another challenge", Reach{}, false, false, 5 * time.Second},
	} {
		dir := t.TempDir()
		synctest.Test(t, func(t *testing.T) {
			core, logs := observer.New(zap.ErrorLevel)
			other := newStorage(dir)
			if err := other.join(); err != nil {
				t.Fatal(err)
			}
			defer other.leave()
			authority := newFakeACME(t)
			acme, stop := runACME(t, authority.options(dir, test.reach, fakeTXT{}, zap.New(core)))
			defer stop()
			if test.waits {
				time.Sleep(5 * time.Minute)
				synctest.Wait()
				if problem := acme.Status()[0].Problem; authority.ordered() > 0 || !strings.Contains(problem, "another copy") {
					t.Errorf("%s: %d orders, problem %q", test.name, authority.ordered(), problem)
				}
			}
			if test.ends {
				other.leave()
			}
			time.Sleep(test.within)
			synctest.Wait()
			if problem := acme.Status()[0].Problem; serves(t, acme, authority.simulatedAuthority, false) == 0 || problem != "" {
				t.Errorf("%s: no certificate: %s", test.name, problem)
			}
			if logs.Len() > 0 {
				t.Errorf("%s: %d lines in the log, the first is %v", test.name, logs.Len(), logs.All()[0])
			}
		})
	}
}
