package certificates

import (
	"context"
	"crypto/tls"
	"fmt"
	"maps"
	"reflect"
	"slices"
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

// owners returns the names that have records.
func (m *memoryTXT) owners() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Sorted(maps.Keys(m.values))
}

// givenBy returns which answers a copy of the program gives over TLS and http.
func givenBy(acme *ACME, name string) (kinds []string) {
	if _, ok := acme.KeyAuthorization("token0"); ok {
		kinds = append(kinds, "http-01")
	}
	hello := &tls.ClientHelloInfo{ServerName: name, SupportedProtos: []string{ALPN}}
	if _, err := acme.Certificate(hello); err == nil {
		kinds = append(kinds, "tls-alpn-01")
	}
	return kinds
}

// TestAnswersAreRemoved: while the authority validates, exactly the answer to its challenge is given, and afterwards
// none, whether the validation succeeds or fails. Another copy of the program gives the same answers over TLS and http.
func TestAnswersAreRemoved(t *testing.T) {
	t.Parallel()
	for _, kind := range []string{"dns-01", "tls-alpn-01", "http-01"} {
		for _, valid := range []bool{true, false} {
			dir := t.TempDir()
			synctest.Test(t, func(t *testing.T) {
				authority := newFakeACME(t)
				zone := &memoryTXT{values: map[string]string{}}
				o := authority.options(dir, Reach{HTTP: true, OwnZone: true}, zone, zap.NewNop())
				o.Config = &config.ACME{Names: o.Config.Names, Directories: o.Config.Directories, Challenge: kind}
				acme, other := NewACME(o), NewACME(o) // of other, only the answers are used
				given := func() [3][]string {
					return [...][]string{zone.owners(), givenBy(acme, authority.name), givenBy(other, authority.name)}
				}
				var during [3][]string
				authority.accepts = func(string) bool {
					during = given()
					return valid
				}
				stop := start(t, acme, zap.NewNop())
				time.Sleep(30 * time.Second)
				synctest.Wait()
				want := [...][]string{nil, {kind}, {kind}}
				if kind == "dns-01" {
					want = [...][]string{{"_acme-challenge." + authority.name + "."}, nil, nil}
				}
				if !reflect.DeepEqual(during, want) {
					t.Errorf("%s: given while it is validated: %v, want %v", kind, during, want)
				}
				if left := given(); !reflect.DeepEqual(left, [3][]string{}) {
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
