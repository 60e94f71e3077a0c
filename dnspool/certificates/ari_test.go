package certificates

import (
	"crypto/x509"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mholt/acmez/v3/acme"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
)

// TestSuggestedRenewal has an authority suggest when to renew (ARI, RFC 9773): first on day 50, and then, because it
// must revoke the certificate, at once. It is renewed within the 6 hours after which the authority may be asked again,
// long before a third of its time is left. The order says which certificate it replaces.
func TestSuggestedRenewal(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		authority := newFakeACME(t)
		began := time.Now()
		var revoking atomic.Bool
		authority.window = func(leaf *x509.Certificate) (start, end time.Time) {
			if revoking.Load() && leaf.NotBefore.Equal(began) {
				return began.Add(5 * day), began.Add(9 * day)
			}
			return leaf.NotBefore.Add(50 * day), leaf.NotBefore.Add(51 * day)
		}
		acme, stop := runACME(t, authority.options(dir, Reach{}, nil, zap.NewNop()))
		defer stop()
		served := func(after time.Duration, want int64) {
			t.Helper()
			time.Sleep(time.Until(began.Add(after)))
			synctest.Wait()
			if got := serves(t, acme, authority.simulatedAuthority, false); got != want {
				t.Fatalf("%v after the start, certificate %d is served, want %d", after, got, want)
			}
		}
		served(10*day, 2)
		revoking.Store(true)
		served(10*day+7*time.Hour, 3)
		served(60*day, 3)
		authority.mu.Lock()
		orders := slices.Clone(authority.orders)
		authority.mu.Unlock()
		if len(orders) != 2 || orders[0].replaces != "" || orders[1].replaces != identifier(t, orders[0].leaf) {
			t.Errorf("%d orders, the second replaces %q", len(orders), orders[1].replaces)
		}
		served(62*day, 4) // the second one's window is over
	})
}

// TestOutageBeforeRenewal has the authority away for days, twice, while no certificate is due: the log says so once.
func TestOutageBeforeRenewal(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		core, logs := observer.New(zap.WarnLevel)
		authority := newFakeACME(t)
		authority.window = func(leaf *x509.Certificate) (start, end time.Time) {
			return leaf.NotBefore.Add(50 * day), leaf.NotBefore.Add(51 * day)
		}
		_, stop := runACME(t, authority.options(dir, Reach{}, nil, zap.New(core)))
		defer stop()
		for outage := range 2 {
			time.Sleep(day)
			authority.away.Store(true)
			time.Sleep(3 * day)
			authority.away.Store(false)
			synctest.Wait()
			lines := logs.TakeAll()
			if len(lines) != 1 || !strings.Contains(lines[0].Message, "cannot ask the authority when to renew") ||
				lines[0].ContextMap()["name"] != authority.name {
				t.Errorf("outage %d: %d lines, the first: %v", outage, len(lines), lines[:min(1, len(lines))])
			}
		}
	})
}

// TestAuthorityWithoutSuggestions has an authority that suggests no renewals: there is nothing to log.
func TestAuthorityWithoutSuggestions(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		core, logs := observer.New(zap.WarnLevel)
		_, stop := runACME(t, newFakeACME(t).options(dir, Reach{}, nil, zap.New(core)))
		time.Sleep(day)
		stop()
		if logs.Len() > 0 {
			t.Errorf("%d lines, the first: %v", logs.Len(), logs.All()[0])
		}
	})
}

// identifier is how ARI names a certificate.
func identifier(t *testing.T, leaf *x509.Certificate) string {
	t.Helper()
	id, err := acme.ARIUniqueIdentifier(leaf)
	if err != nil || !strings.Contains(id, ".") {
		t.Fatalf("identifier %q, %v", id, err)
	}
	return id
}
