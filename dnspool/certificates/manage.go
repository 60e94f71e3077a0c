package certificates

import (
	"context"
	"crypto/x509"
	"reflect"
	"slices"
	"sync"
	"time"

	"github.com/caddyserver/certmagic"
	"github.com/mholt/acmez/v3/acme"
	"go.uber.org/zap"

	"mirrorpool/config"
)

const (
	loadTime = 2 * time.Second // for loading saved certificates at the start, with their OCSP responses
	stopTime = 3 * time.Second
	// certmagic gives up a name after 30 days of failures.
	obtainPause = time.Hour
)

// Open loads the certificates that an earlier run has saved, so that they are served from the first handshake on. Run
// gets the others.
func (a *ACME) Open(ctx context.Context) error {
	cache := certmagic.NewCache(certmagic.CacheOptions{
		GetConfigForCert:   func(certmagic.Certificate) (*certmagic.Config, error) { return a.now.Load().magic, nil },
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
	m := a.now.Load()
	for _, name := range m.Names {
		_, _ = m.magic.CacheManagedCertificate(ctx, name) // without one, Run orders it, or says why it cannot be used
	}
	return nil
}

// magicLog is the logger of certmagic. Below errors it tells of each step.
func (a *ACME) magicLog() *zap.Logger { return a.o.Log.WithOptions(zap.IncreaseLevel(zap.ErrorLevel)) }

// Close ends what Open has begun, where Run is not going to.
func (a *ACME) Close() {
	a.stopNow()
	a.now.Load().cache.Stop()
}

// SetConfig puts another configuration in force. The certificates for names that are no longer in it are not served any
// more.
func (a *ACME) SetConfig(c *config.ACME) error {
	a.setting.Lock()
	defer a.setting.Unlock()
	if reflect.DeepEqual(a.now.Load().ACME, c) {
		return nil
	}
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
	a.signalChange()
	return nil
}

// signalChange has Run look at the configuration.
func (a *ACME) signalChange() {
	select {
	case a.changed <- struct{}{}:
	default: // it is going to
	}
}

// newMagic returns what certmagic works with under a configuration.
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
		Issuers: issuers, Storage: a.storage, OnEvent: a.note, Logger: a.magicLog(),
		RenewalWindowRatio: certmagic.DefaultRenewalWindowRatio,
		KeySource:          certmagic.StandardKeyGenerator{KeyType: certmagic.P256},
	}
	if a.o.tune != nil {
		a.o.tune(&magic)
	}
	return certmagic.New(cache, magic), nil
}

// leaf returns the certificate for a name, or nil.
func (a *ACME) leaf(name string) *x509.Certificate {
	if cert := a.find(name); cert != nil {
		return cert.Leaf
	}
	return nil
}

// solvers returns what can answer challenges for a name, or why nothing can.
func (a *ACME) solvers(name, forced string) (list []solver, err error) {
	reach := a.o.Reach(name)
	for _, kind := range challengesFor(name, forced, reach) {
		switch kind {
		case acme.ChallengeTypeDNS01:
			list = append(list, solver{kind, dnsSolver{a.o.TXT(name)}})
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

// note takes in what certmagic has done.
func (a *ACME) note(_ context.Context, event string, data map[string]any) error {
	name, _ := data["identifier"].(string)
	switch event {
	case "cert_obtained":
		a.setProblem(name, "")
		renewal, _ := data["renewal"].(bool)
		a.o.Log.Info("certificate obtained", zap.String("name", name), zap.Bool("renewal", renewal))
	case "cert_failed":
		if err, ok := data["error"].(error); ok {
			a.setProblem(name, err.Error())
		}
	}
	return nil
}

func (a *ACME) setProblem(name, text string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.problems[name] = text
}

// Run gets the certificates that are missing, and renews them, until ctx ends.
func (a *ACME) Run(ctx context.Context) error {
	defer a.end()
	var renewing sync.WaitGroup
	renewing.Go(func() { a.renewDue(ctx) })
	defer renewing.Wait()
	for ctx.Err() == nil {
		select {
		case <-a.changed: // Open has signalled, too
		case <-ctx.Done():
			return nil
		}
		a.obtainAll(ctx)
	}
	return nil
}

// renewDue renews the saved certificates that are due, without waiting for certmagic's first look at them.
func (a *ACME) renewDue(ctx context.Context) {
	if err := a.now.Load().cache.RenewManagedCertificates(ctx); err != nil && ctx.Err() == nil {
		a.o.Log.Error("cannot renew certificates", zap.Error(err))
	}
}

// obtainAll gets the certificates that are missing, until there are all of them, or the configuration changes.
func (a *ACME) obtainAll(ctx context.Context) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	m := a.now.Load()
	var names sync.WaitGroup
	for _, name := range m.Names {
		if a.leaf(name) == nil {
			names.Go(func() { a.obtain(ctx, m.magic, name) })
		}
	}
	done := make(chan struct{})
	go func() { names.Wait(); close(done) }()
	select {
	case <-done:
		return
	case <-ctx.Done():
	case <-a.changed:
		a.signalChange() // for Run
	}
	cancel()
	<-done
}

// obtain gets the certificate for a name, and tries until it has succeeded.
func (a *ACME) obtain(ctx context.Context, magic *certmagic.Config, name string) {
	for {
		err := magic.ObtainCertAsync(ctx, name) // which is synchronous, and tries again for 30 days
		if err == nil {
			_, err = magic.CacheManagedCertificate(ctx, name)
		}
		if err == nil || ctx.Err() != nil {
			return
		}
		a.setProblem(name, err.Error())
		a.o.Log.Error("cannot get a certificate", zap.String("name", name), zap.Error(err))
		select {
		case <-ctx.Done():
			return
		case <-time.After(obtainPause):
		}
	}
}

// end stops renewals. certmagic may wait for an OCSP responder: that is not waited for.
func (a *ACME) end() {
	a.stopNow()
	stopped := make(chan struct{})
	go func() { a.now.Load().cache.Stop(); close(stopped) }()
	select {
	case <-stopped:
	case <-time.After(stopTime):
	}
}
