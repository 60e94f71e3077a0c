package certificates

import (
	"context"
	"crypto/tls"
	"fmt"
	"maps"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"

	"mirrorpool/config"
)

// memoryTXT are TXT records.
type memoryTXT struct {
	mu     sync.Mutex
	values map[string]string // by owner
}

// AddTXT is described at [TXTRecords].
func (m *memoryTXT) AddTXT(_ context.Context, name, value string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.values[name] = value
	return nil
}

// RemoveTXT is described at [TXTRecords].
func (m *memoryTXT) RemoveTXT(_ context.Context, name, value string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.values[name] != value {
		return fmt.Errorf("%s is %q, not %q", name, m.values[name], value)
	}
	delete(m.values, name)
	return nil
}

// TestAnswersAreRemoved: while the authority validates, exactly the answer to its challenge is given, and afterwards
// none, whether the validation succeeds or fails. Another copy of the program gives the same answers.
func TestAnswersAreRemoved(t *testing.T) {
	t.Parallel()
	for _, kind := range []string{"dns-01", "tls-alpn-01", "http-01"} {
		for _, valid := range []bool{true, false} {
			dir := t.TempDir()
			synctest.Test(t, func(t *testing.T) {
				authority := newFakeACME(t)
				txt := &memoryTXT{values: map[string]string{}}
				o := authority.options(dir, Reach{HTTP: true, OwnZone: true}, txt, zap.NewNop())
				o.Config = &config.ACME{Names: o.Config.Names, Directories: o.Config.Directories, Challenge: kind}
				acme, beside := NewACME(o), NewACME(o)
				given := func(acme *ACME) map[string]bool {
					txt.mu.Lock()
					defer txt.mu.Unlock()
					list := map[string]bool{}
					for name := range txt.values {
						list["dns-01 "+name] = true
					}
					hello := &tls.ClientHelloInfo{ServerName: authority.name, SupportedProtos: []string{ALPN}}
					if _, err := acme.Certificate(hello); err == nil {
						list["tls-alpn-01"] = true
					}
					if _, ok := acme.KeyAuthorization("token0"); ok {
						list["http-01"] = true
					}
					return list
				}
				var during, duringBeside map[string]bool
				authority.accepts = func(string) bool {
					during, duringBeside = given(acme), given(beside)
					return valid
				}
				stop := start(t, acme, zap.NewNop())
				time.Sleep(30 * time.Second)
				synctest.Wait()
				want := kind
				if kind == "dns-01" {
					want = "dns-01 _acme-challenge." + authority.name + "."
				}
				if !maps.Equal(during, map[string]bool{want: true}) {
					t.Errorf("%s: given while it is validated: %v", kind, during)
				}
				if !maps.Equal(duringBeside, during) {
					t.Errorf("%s: given by another copy of the program: %v", kind, duringBeside)
				}
				if left := given(beside); len(left) > 0 {
					t.Errorf("%s, valid %v: given by another copy afterwards: %v", kind, valid, left)
				}
				if left := given(acme); len(left) > 0 {
					t.Errorf("%s, valid %v: given afterwards: %v", kind, valid, left)
				}
				if got := serves(t, acme, authority.simulatedAuthority, false); (got != 0) != valid {
					t.Errorf("%s, valid %v: certificate %d", kind, valid, got)
				}
				stop()
			})
		}
	}
}
