package certificates

import (
	"context"
	"crypto/x509"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddyserver/certmagic"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"mirrorpool/config"
)

// A slowAuthority is one that takes a minute for each certificate, once it is slow.
type slowAuthority struct {
	*simulatedAuthority
	slow  atomic.Bool
	begun atomic.Int64 // orders
}

// Issue issues a certificate.
func (s *slowAuthority) Issue(ctx context.Context, csr *x509.CertificateRequest) (*certmagic.IssuedCertificate, error) {
	s.begun.Add(1)
	if s.slow.Load() {
		select {
		case <-time.After(time.Minute):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	return s.simulatedAuthority.Issue(ctx, csr)
}

// TestRemovedWhileRenewed has a reload remove a name whose certificate is being renewed: it is not served any more, and
// not renewed again. A later reload that adds the name serves it once more.
func TestRemovedWhileRenewed(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		core, logs := observer.New(zap.WarnLevel)
		authority, other := &slowAuthority{simulatedAuthority: newSimulatedAuthority(t)}, newSimulatedAuthority(t)
		both := &config.ACME{Names: []string{authority.name, other.name}}
		acme, stop := runACME(t, Options{
			Config: both, Dir: dir, Log: zap.New(core), Reach: func(string) Reach { return Reach{} },
			tune: func(c *certmagic.Config) { c.Issuers = []certmagic.Issuer{authority} },
		})
		defer stop()
		time.Sleep(59 * day)
		synctest.Wait()
		authority.slow.Store(true)
		for authority.begun.Load() == 2 { // until a renewal begins
			time.Sleep(10 * time.Second)
			synctest.Wait()
		}
		removed, stays := authority.name, other.name
		if !acme.storage.holds(issueLock + removed) {
			removed, stays = stays, removed
		}
		if err := acme.SetConfig(&config.ACME{Names: []string{stays}}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		if acme.find(removed) != nil || acme.Covers(removed) || acme.find(stays) == nil {
			t.Errorf("after the reload: removed name served: %v, other name served: %v",
				acme.find(removed) != nil, acme.find(stays) != nil)
		}
		orders := authority.begun.Load()
		time.Sleep(100 * day)
		synctest.Wait()
		if n := authority.begun.Load() - orders; n != 1 && n != 2 { // of the name that stays
			t.Errorf("%d orders in 100 days, for one name", n)
		}
		if logs.Len() > 0 {
			t.Errorf("in the log: %v", logs.All())
		}
		if err := acme.SetConfig(both); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		if !acme.Covers(removed) || !acme.Covers(stays) {
			t.Error("a name that is added again has no certificate")
		}
	})
}

// holds reports whether this process holds a lock.
func (s *storage) holds(name string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.held[name] != nil
}
