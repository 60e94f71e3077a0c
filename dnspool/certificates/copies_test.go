package certificates

import (
	"strings"
	"sync"
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

// TestRenewalWaitsForUpgrade has a renewal become due while a new copy of the program starts: the old copy makes no
// order either, because the new one would be asked for its TXT records. To wait is no failure to log.
func TestRenewalWaitsForUpgrade(t *testing.T) {
	for _, ends := range []bool{true, false} {
		dir := t.TempDir()
		synctest.Test(t, func(t *testing.T) {
			core, logs := observer.New(zap.ErrorLevel)
			authority, next := newFakeACME(t), newStorage(dir)
			acme, stop := runACME(t, authority.options(dir, Reach{OwnZone: true}, fakeTXT{}, zap.New(core)))
			defer stop()
			time.Sleep(60*day + 5*time.Minute) // it is due, and looked for every 10 minutes
			if err := next.join(); err != nil {
				t.Fatal(err)
			}
			defer next.leave()
			time.Sleep(9 * time.Minute)
			synctest.Wait()
			if n := authority.ordered(); n != 1 {
				t.Errorf("%d orders while the new copy is there, want that of the start", n)
			}
			if ends {
				next.leave()
			}
			time.Sleep(15 * time.Minute)
			synctest.Wait()
			if got, problem := serves(t, acme, authority.simulatedAuthority, false), acme.Status()[0].Problem; got != 3 || problem != "" {
				t.Errorf("certificate %d, problem %q", got, problem)
			}
			if logs.Len() > 0 {
				t.Errorf("in the log: %v", logs.All())
			}
		})
	}
}

// TestCopiesLookAtOnce has copies of the program look for each other at the same time: none finds itself alone.
func TestCopiesLookAtOnce(t *testing.T) {
	t.Parallel()
	const copies, looks = 2, 1000
	dir := t.TempDir()
	var all [copies]*storage
	for i := range all {
		all[i] = newStorage(dir)
		if err := all[i].join(); err != nil {
			t.Fatal(err)
		}
		defer all[i].leave()
	}
	var running sync.WaitGroup
	for _, s := range all {
		for range 2 { // names whose certificates it gets
			running.Go(func() {
				for range looks {
					if !s.upgrading() {
						t.Error("a copy finds itself alone")
						return
					}
				}
			})
		}
	}
	running.Wait()
	for _, s := range all[1:] {
		s.leave()
	}
	if all[0].upgrading() {
		t.Error("the last copy does not find itself alone")
	}
}
