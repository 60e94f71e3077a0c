package certificates

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mholt/acmez/v3/acme"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"mirrorpool/config"
)

// TestFailedValidations has an authority find all answers wrong. In no hour is it asked for more validations than Let's
// Encrypt lets fail, whatever asks for them: pauses, a reload every 7 minutes, a restart every 5 hours, a renewal that
// is due. Yet each kind of challenge is tried, and again once the fault is mended.
func TestFailedValidations(t *testing.T) {
	for _, test := range []struct {
		name     string
		reach    Reach
		renewal  bool
		wildcard bool // beside the name
	}{
		{"first", Reach{OwnZone: true, HTTP: true}, false, false},
		{"renewal", Reach{OwnZone: true, HTTP: true}, true, false},
		{"one kind", Reach{}, false, false},
		{"wildcard", Reach{OwnZone: true}, false, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir := t.TempDir()
			synctest.Test(t, func(t *testing.T) {
				authority := newFakeACME(t)
				o := authority.options(dir, test.reach, fakeTXT{}, zap.NewNop())
				authority.setAccepts(func(string) bool { return test.renewal })
				if test.wildcard {
					o.Config.Names = append(o.Config.Names, "*."+authority.name)
				}
				acme, stop := runACME(t, o)
				if test.renewal {
					time.Sleep(59 * day) // it is due on day 60
					authority.takeTries()
					authority.setAccepts(func(string) bool { return false })
					time.Sleep(2 * day)
				}
				for step := range 18 * 60 / 7 {
					time.Sleep(7 * time.Minute)
					switch {
					case step < 50: // pauses alone
					case step%43 == 0:
						stop()
						acme, stop = runACME(t, o)
					default:
						if err := acme.SetConfig(o.Config); err != nil {
							t.Fatal(err)
						}
					}
				}
				synctest.Wait()
				checkTries(t, authority.takeTries(), len(challengesFor(authority.name, "", test.reach)))
				authority.setAccepts(func(string) bool { return true })
				time.Sleep(7 * time.Hour)
				synctest.Wait()
				if got := serves(t, acme, authority.simulatedAuthority, false); got < 2 || got > authority.issued.Load()+1 {
					t.Errorf("certificate %d is served, %d are issued", got, authority.issued.Load())
				}
				if problem := acme.Status()[0].Problem; problem != "" {
					t.Errorf("problem: %s", problem)
				}
				stop()
			})
		})
	}
}

// checkTries looks for an hour with too many, and for challenges that were not tried.
func checkTries(t *testing.T, list []fakeTry, kinds int) {
	t.Helper()
	seen := map[string]int{}
	for i, try := range list {
		seen[try.kind]++
		if i >= 5 && try.at.Sub(list[i-5].at) <= time.Hour {
			t.Errorf("6 validations in %v", try.at.Sub(list[i-5].at))
		}
	}
	if len(seen) != kinds || len(list) < 18 {
		t.Errorf("%d validations in 18 hours: %v", len(list), seen)
	}
	t.Logf("%d validations: %v", len(list), seen)
}

// TestUnanswerableChallenge has a zone that cannot take the TXT record: the status says why and what to do, on one
// line, no validation fails for it, and the next kind of challenge is tried.
func TestUnanswerableChallenge(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		core, logs := observer.New(zap.WarnLevel)
		authority := newFakeACME(t)
		authority.setAccepts(func(kind string) bool { return kind == "dns-01" })
		reason := errors.New("cannot add a TXT record: it has a CNAME record; remove that")
		acme, stop := runACME(t, authority.options(dir, Reach{OwnZone: true}, fakeTXT{add: reason}, zap.New(core)))
		defer stop()
		time.Sleep(10 * time.Second)
		synctest.Wait()
		problem := acme.Status()[0].Problem
		for _, want := range []string{"dns-01: ", reason.Error(), "tls-alpn-01: ", "the answer is wrong: not\\u001b[31m ours"} {
			if !strings.Contains(problem, want) || strings.ContainsAny(problem, "\n\x1b") {
				t.Errorf("the problem is %q, want %q in it", problem, want)
			}
		}
		if tries := authority.takeTries(); len(tries) != 1 || tries[0].kind != "tls-alpn-01" {
			t.Errorf("validations: %v", tries)
		}
		if lines := logs.FilterMessage("cannot get a certificate").All(); len(lines) == 0 ||
			strings.Contains(lines[0].ContextMap()["error"].(string), "\n") {
			t.Errorf("in the log: %v", logs.All())
		}
	})
}

// TestNothingAdded has an order end before it could note the TXT record that it was to add, and then the server of
// updates away: there is no record to remove.
func TestNothingAdded(t *testing.T) {
	t.Parallel()
	core, logs := observer.New(zap.WarnLevel)
	order := notedTXT{TXTRecords: fakeTXT{remove: errors.New("the server is away")}, storage: newStorage(t.TempDir())}
	challenge := acme.Challenge{Identifier: acme.Identifier{Value: "a.example.org"}}
	held := notedRecord{Value: challenge.DNS01KeyAuthorization()}.key()
	other := newStorage(order.storage.Path)
	if err := other.Lock(t.Context(), held); err != nil {
		t.Fatal(err)
	}
	defer other.abandon()
	ended, end := context.WithCancel(t.Context())
	end()
	s := dnsSolver{order, zap.New(core)}
	if err := s.Present(ended, challenge); err == nil {
		t.Error("a record was added that is not noted")
	}
	if err := s.CleanUp(ended, challenge); err != nil || logs.Len() > 0 {
		t.Errorf("%v, in the log: %v", err, logs.All())
	}
}

// TestRemovalFails has a TXT record stay although it should be removed: there is a certificate, and the log says so.
func TestRemovalFails(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		core, logs := observer.New(zap.WarnLevel)
		authority := newFakeACME(t)
		txt := fakeTXT{remove: errors.New("the server is away")}
		acme, stop := runACME(t, authority.options(dir, Reach{UpdatedAt: "192.0.2.53:53"}, txt, zap.New(core)))
		defer stop()
		if err := acme.SetConfig(&config.ACME{Names: []string{authority.name}, Directories: []string{authority.url() + "/dir"},
			Challenge: "dns-01"}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if serves(t, acme, authority.simulatedAuthority, false) == 0 {
			t.Fatalf("no certificate: %v", logs.All())
		}
		lines := logs.FilterMessageSnippet("TXT record of a challenge may be left").All()
		if len(lines) == 0 || lines[0].ContextMap()["record"] != "_acme-challenge."+authority.name+"." ||
			lines[0].ContextMap()["error"] != "the server is away" {
			t.Errorf("in the log: %v", logs.All())
		}
	})
}
