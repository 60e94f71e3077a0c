package certificates

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/certmagic"
	"github.com/mholt/acmez/v3/acme"
	"go.uber.org/zap"

	"mirrorpool/config"
)

const (
	loadTime = 2 * time.Second // for loading saved certificates at the start, with their OCSP responses
	stopTime = 3 * time.Second
)

// Open loads the certificates that an earlier run has saved, so that they are served from the first handshake on. Run
// gets the others.
func (a *ACME) Open(ctx context.Context) error {
	cache := certmagic.NewCache(certmagic.CacheOptions{
		GetConfigForCert:   a.configFor,
		RenewCheckInterval: a.o.renewCheck,
		Logger:             a.magicLog(),
	})
	a.setting.Lock()
	defer a.setting.Unlock()
	if err := a.replace(a.now.Load().ACME, cache); err != nil {
		cache.Stop()
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, loadTime)
	defer cancel()
	if err := a.storage.join(); err != nil {
		a.o.Log.Warn("other copies of the program cannot be noticed", zap.Error(err))
	}
	a.closeToOthers()
	a.answers.shared.removeOld(ctx)
	a.storage.removeStale(ctx)
	m := a.now.Load()
	for _, name := range m.Names {
		a.load(ctx, m, name)
	}
	return nil
}

// configFor returns the configuration that renews a certificate. That for a name which a reload has removed, or whose
// order has to wait for the end of an upgrade, renews nothing: certmagic does not renew what it would get on demand.
func (a *ACME) configFor(cert certmagic.Certificate) (*certmagic.Config, error) {
	m := a.now.Load()
	if m.wants(cert) && a.checkAlone(cert.Names[0], m.Challenge) == nil {
		return m.magic, nil
	}
	return certmagic.New(m.cache, certmagic.Config{
		OnDemand: new(certmagic.OnDemandConfig), Storage: a.storage, Logger: a.magicLog(),
	}), nil
}

// Close stops what Open has started, where Run is not called.
func (a *ACME) Close() {
	a.stopNow()
	a.storage.leave()
	a.now.Load().cache.Stop()
}

// SetConfig puts a configuration in force. Certificates for names that are no longer in it are not served any more.
// Missing and due certificates are ordered at once, even if the configuration is the same: what made orders fail may be
// mended.
func (a *ACME) SetConfig(c *config.ACME) error {
	a.setting.Lock()
	defer a.setting.Unlock()
	return a.replace(c, a.now.Load().cache)
}

// replace puts a configuration in force. cache is nil before Open.
func (a *ACME) replace(c *config.ACME, cache *certmagic.Cache) error {
	if cache == nil {
		a.now.Store(&managed{ACME: c})
		return nil
	}
	magic, err := a.newMagic(c, cache)
	if err != nil {
		return err
	}
	before := a.now.Swap(&managed{c, magic, cache})
	var gone []certmagic.SubjectIssuer
	for _, name := range before.Names {
		if !slices.Contains(c.Names, name) {
			gone = append(gone, certmagic.SubjectIssuer{Subject: name})
		}
	}
	cache.RemoveManaged(gone)
	signal(a.changed)
	return nil
}

// signal sends to a channel of capacity 1, unless a signal waits there.
func signal(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// newMagic returns certmagic's form of a configuration.
func (a *ACME) newMagic(c *config.ACME, cache *certmagic.Cache) (*certmagic.Config, error) {
	trusted, err := roots(c)
	if err != nil {
		return nil, err
	}
	client := newClient(trusted)
	var issuers []certmagic.Issuer
	for _, directory := range c.Directories {
		issuers = append(issuers, &issuer{
			directory: directory, config: c, storage: a.storage, log: a.o.Log, client: client, stop: a.stop,
			solvers: func(name string) ([]solver, error) { return a.solvers(name, c.Challenge) },
		})
	}
	magic := certmagic.Config{
		Issuers: issuers, Storage: a.storage, OnEvent: a.onEvent, Logger: a.magicLog(),
		RenewalWindowRatio: certmagic.DefaultRenewalWindowRatio,
		KeySource:          certmagic.StandardKeyGenerator{KeyType: certmagic.P256},
	}
	if a.o.tune != nil {
		a.o.tune(&magic)
	}
	return certmagic.New(cache, magic), nil
}

// solvers returns the solvers of the challenges to try for a name, or an error if there is none.
func (a *ACME) solvers(name, forced string) (list []solver, err error) {
	if err := a.checkAlone(name, forced); err != nil {
		return nil, err
	}
	reach := a.o.Reach(name)
	kinds := challengesFor(name, forced, reach)
	for _, kind := range kinds {
		switch kind {
		case acme.ChallengeTypeDNS01:
			list = append(list, solver{kind, dnsSolver{a.txtRecords(name, reach), a.o.Log}})
		case acme.ChallengeTypeTLSALPN01:
			list = append(list, solver{kind, alpnSolver{&a.answers}})
		case acme.ChallengeTypeHTTP01:
			list = append(list, solver{kind, httpSolver{&a.answers}})
		}
	}
	if len(list) == 0 {
		return nil, noChallenge(name, forced, reach)
	}
	return list, nil
}

// checkAlone returns errNotAlone while no order for a name may be made beside another copy of the program.
func (a *ACME) checkAlone(name, forced string) error {
	reach := a.o.Reach(name)
	kinds := challengesFor(name, forced, reach)
	if reach.OwnZone && len(kinds) > 0 && kinds[0] == acme.ChallengeTypeDNS01 && a.storage.upgrading() {
		return errNotAlone
	}
	return nil
}

// txtRecords returns where TXT records for a name are added. Those in our own zone end with the process.
func (a *ACME) txtRecords(name string, reach Reach) TXTRecords {
	if reach.OwnZone {
		return a.o.OwnZone
	}
	return notedTXT{a.o.UpdatesAt(name, reach.UpdatedAt), name, reach.UpdatedAt, a.storage, a.removed}
}

// errRemoved is why no certificate is ordered for a name that a reload has removed.
var errRemoved = fmt.Errorf("the name is no longer in http.tls.acme.names: %w", context.Canceled)

// onEvent handles an event of certmagic. An error keeps it from ordering a certificate.
func (a *ACME) onEvent(ctx context.Context, event string, data map[string]any) error {
	name, _ := data["identifier"].(string)
	switch event {
	case "cert_obtaining":
		if !slices.Contains(a.now.Load().Names, name) {
			return errRemoved
		}
	case "cert_obtained":
		a.setProblem(name, "")
		authority, _ := data["issuer"].(string)
		a.forgetTries(context.WithoutCancel(ctx), authority, name)
		renewal, _ := data["renewal"].(bool)
		a.o.Log.Info("certificate obtained", zap.String("name", name), zap.Bool("renewal", renewal))
	case "cert_failed":
		if err, ok := data["error"].(error); ok && !errors.Is(err, context.Canceled) {
			a.setProblem(name, err.Error())
		}
	}
	return nil
}

// issueLock begins the name of the lock that certmagic holds while it orders a certificate.
const issueLock = "issue_cert_"

// noteWait has the problem of a name say that its order waits for another one, while it does.
func (a *ACME) noteWait(lock string, waiting bool) {
	name, ok := strings.CutPrefix(lock, issueLock)
	if !ok {
		return
	}
	text := ""
	if waiting {
		text = "an order for this name is under way, here or in another copy of the program; waiting for its end"
	}
	a.setProblem(name, text)
}

func (a *ACME) setProblem(name, text string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.problems[name] = oneLine(text)
}
