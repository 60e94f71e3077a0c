package certificates

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddyserver/certmagic"
	"go.uber.org/zap"

	"mirrorpool/config"
	"mirrorpool/config/safefile"
)

var errNoCertificate = errors.New("no certificate for this name yet")

// Options configure an ACME.
type Options struct {
	Config *config.ACME // the first one; see [ACME.SetConfig]
	Dir    string       // where accounts, keys and certificates are saved
	// Reach returns how an authority can see answers to challenges for a name, which may begin with "*.".
	Reach func(name string) Reach
	// OwnZone is where TXT records are added for names whose Reach has OwnZone.
	OwnZone TXTRecords
	// UpdatesAt returns where TXT records for a name are added, if its Reach has UpdatedAt, which is server. It returns
	// also where to remove them after a change of the Reach. For "" it is any server that takes updates for the name.
	UpdatesAt func(name, server string) TXTRecords
	Log       *zap.Logger

	renewCheck time.Duration           // how often certificates are checked for renewal; 0: certmagic's default
	tune       func(*certmagic.Config) // nil but in tests
}

// An ACME obtains certificates from an authority, serves them, and renews them.
type ACME struct {
	o       Options
	storage *storage
	answers answers
	now     atomic.Pointer[managed]
	changed chan struct{}   // of capacity 1: signals that now was replaced
	removed chan struct{}   // of capacity 1: signals that a TXT record was removed
	stop    context.Context // ends with Run; cancels all requests to authorities
	stopNow context.CancelFunc

	setting sync.Mutex // held while now is replaced

	mu       sync.Mutex        // guards problems
	problems map[string]string // by name
}

// A managed is a configuration, with certmagic's objects for it, which are nil before Open.
type managed struct {
	*config.ACME
	magic *certmagic.Config
	cache *certmagic.Cache
}

// wants reports whether the configuration names a certificate's name. There is one name in each certificate.
func (m *managed) wants(cert certmagic.Certificate) bool {
	return len(cert.Names) > 0 && slices.Contains(m.Names, cert.Names[0])
}

// NewACME returns an ACME that is neither open nor running.
func NewACME(o Options) *ACME {
	a := &ACME{o: o, storage: newStorage(o.Dir),
		changed: make(chan struct{}, 1), removed: make(chan struct{}, 1), problems: map[string]string{}}
	a.storage.waits = a.noteWait
	a.answers.shared.storage = a.storage
	a.stop, a.stopNow = context.WithCancel(context.Background())
	a.now.Store(&managed{ACME: o.Config})
	return a
}

// Check returns an error if a configuration names a file that cannot be opened, or a host for which no challenge can be
// answered.
func Check(c *config.Server) error {
	acme := c.HTTP.ACME
	if acme == nil {
		return nil
	}
	if _, err := roots(acme); err != nil {
		return err
	}
	if acme.EABKeyFile != "" {
		if _, err := ReadEABKey(acme); err != nil {
			return err
		}
	}
	return checkChallenges(c)
}

// roots returns the roots that directories' certificates are verified with; nil for the system's.
func roots(c *config.ACME) (*x509.CertPool, error) {
	if c.CARoot == "" {
		return nil, nil
	}
	text, err := safefile.Read(c.CARoot, maxPEM)
	if err != nil {
		return nil, fmt.Errorf("cannot read ca_root: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("cannot use ca_root: %s: want a certificate in PEM", c.CARoot)
	}
	return pool, nil
}

// Certificate implements GetCertificate of tls.Config. Clients that ask for another name, or for none, get that of the
// first name that has one, if possible a valid one.
func (a *ACME) Certificate(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	name := hostOf(hello)
	if isChallenge(hello) {
		return a.answers.certificate(name)
	}
	if cert := a.find(name); cert != nil {
		return cert, nil
	}
	var expired *tls.Certificate
	for _, name := range a.now.Load().Names {
		cert := a.find(name)
		if isValid(cert, time.Now()) {
			return cert, nil
		}
		if expired == nil {
			expired = cert
		}
	}
	if expired == nil {
		return nil, errNoCertificate
	}
	return expired, nil
}

// find returns the certificate for a name that expires last, or nil. A renewal that has begun before a reload may bring
// back the certificate for a name that is no longer in the configuration: it is not served.
func (a *ACME) find(name string) (found *tls.Certificate) {
	m := a.now.Load()
	if m.cache == nil {
		return nil
	}
	list := m.cache.AllMatchingCertificates(name)
	for i := range list {
		c := &list[i].Certificate
		if m.wants(list[i]) && (found == nil || c.Leaf.NotAfter.After(found.Leaf.NotAfter)) {
			found = c
		}
	}
	return found
}

// Covers reports whether there is a valid certificate for a host name.
func (a *ACME) Covers(host string) bool {
	return isValid(a.find(strings.ToLower(strings.TrimSuffix(host, "."))), time.Now())
}

// KeyAuthorization returns the answer to an HTTP-01 challenge with a token.
func (a *ACME) KeyAuthorization(token string) (string, bool) {
	return a.answers.keyAuthorization(token)
}

// Status returns the state of the certificate for each name.
func (a *ACME) Status() []Status {
	var list []Status
	for _, name := range a.now.Load().Names {
		s := Status{Name: name}
		if cert := a.find(name); cert != nil {
			s.From, s.Until = cert.Leaf.NotBefore, cert.Leaf.NotAfter
		}
		a.mu.Lock()
		s.Problem = a.problems[name]
		a.mu.Unlock()
		list = append(list, s)
	}
	return list
}
