package certificates

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"reflect"
	"slices"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"

	"mirrorpool/config"
)

// pauses follow on failures to get a first certificate. The last one is repeated.
var pauses = []time.Duration{
	time.Minute, 2 * time.Minute, 2 * time.Minute, 5 * time.Minute, 10 * time.Minute, 20 * time.Minute, 30 * time.Minute,
	time.Hour, 2 * time.Hour, 3 * time.Hour, 6 * time.Hour,
}

// A keeper is the goroutine that gets the certificate for one name.
type keeper struct {
	config *config.ACME
	cancel context.CancelFunc
	wake   chan struct{} // of capacity 1: try now
}

// Run gets the certificates that are missing, and renews them, until ctx ends.
func (a *ACME) Run(ctx context.Context) error {
	defer a.end()
	var running sync.WaitGroup
	defer running.Wait()
	running.Go(func() { a.removeLeft(ctx) })
	keepers := map[string]*keeper{}
	for {
		select {
		case <-a.changed: // Open has signalled, too
			a.follow(ctx, keepers, &running)
		case <-ctx.Done():
			return nil
		}
	}
}

// follow starts and stops keepers for the configuration in force, and has the others try now. Orders go on for names
// that stay, unless they were begun under other settings.
func (a *ACME) follow(ctx context.Context, keepers map[string]*keeper, running *sync.WaitGroup) {
	m := a.now.Load()
	for name, k := range keepers {
		if !slices.Contains(m.Names, name) || !sameButNames(*k.config, *m.ACME) {
			k.cancel()
			delete(keepers, name)
		}
	}
	for _, name := range m.Names {
		if k := keepers[name]; k != nil {
			signal(k.wake)
			continue
		}
		ctx, cancel := context.WithCancel(ctx)
		k := &keeper{m.ACME, cancel, make(chan struct{}, 1)}
		keepers[name] = k
		running.Go(func() {
			defer cancel()
			a.keep(ctx, k.wake, name)
		})
	}
}

func sameButNames(a, b config.ACME) bool {
	a.Names, b.Names = nil, nil
	return reflect.DeepEqual(a, b)
}

// keep gets the certificate for a name, until ctx ends. It tries again after a pause, and at once after a reload.
func (a *ACME) keep(ctx context.Context, wake <-chan struct{}, name string) {
	a.load(ctx, a.now.Load(), name)
	failures := 0
	for {
		again, err := a.get(ctx, a.now.Load(), name)
		if ctx.Err() != nil {
			return
		}
		var pause <-chan time.Time
		switch {
		case err == nil:
			a.setProblem(name, "")
		case errors.Is(err, errNotAlone): // soon it is
			a.setProblem(name, err.Error())
		default:
			a.setProblem(name, reason(name, err))
			message := "cannot get a certificate"
			if a.find(name) != nil {
				message = "cannot renew a certificate"
			}
			a.o.Log.Error(message, zap.String("name", name), zap.String("error", reason(name, err)))
		}
		if again {
			pause = time.After(pauseAfter(failures, err))
			if !errors.Is(err, errNotAlone) {
				failures++
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-wake:
			failures = 0
		case <-pause:
		}
	}
}

// reason is the text of an error on a name, without what certmagic puts before it.
func reason(name string, err error) string {
	text := strings.TrimPrefix(err.Error(), "["+name+"] ")
	return oneLine(strings.TrimPrefix(strings.TrimPrefix(text, "Obtain: "), "Renew: "))
}

// pauseAfter is for how long nothing is tried after some failures, of which err is the latest.
func pauseAfter(failures int, err error) time.Duration {
	if errors.Is(err, errNotAlone) {
		return aloneInterval
	}
	pause := pauses[min(failures, len(pauses)-1)]
	if wait := (*waitError)(nil); errors.As(err, &wait) {
		pause = max(pause, time.Until(wait.until))
	}
	return pause
}

// get makes one attempt to get the certificate for a name, or to renew it if it is due. It reports whether to try
// again: certmagic does that for renewals.
func (a *ACME) get(ctx context.Context, m *managed, name string) (again bool, err error) {
	if cert, ok := a.upToDate(ctx, m, name); ok {
		serveOnly(m.cache, name, cert)
		return false, nil
	}
	if err := a.repairSaved(ctx, m, name); err != nil {
		return true, err
	}
	cert, err := m.magic.CacheManagedCertificate(ctx, name)
	if atFile := (*fs.PathError)(nil); errors.As(err, &atFile) && !errors.Is(err, fs.ErrNotExist) {
		return true, fmt.Errorf("cannot read saved certificates; the server's user has to read and write all in state_dir: %w", err)
	}
	saved := err == nil
	if !saved || cert.NeedsRenewal(m.magic) {
		if err := a.checkAlone(name, m.Challenge); err != nil {
			return true, err // not by certmagic, which would log it as a failure
		}
	}
	switch {
	case !saved:
		err = m.magic.ObtainCertSync(ctx, name)
	case cert.NeedsRenewal(m.magic):
		err = m.magic.RenewCertSync(ctx, name, false)
	}
	if err == nil && ctx.Err() == nil {
		cert, err = m.magic.CacheManagedCertificate(ctx, name)
	}
	if err != nil || ctx.Err() != nil {
		return !saved, err
	}
	serveOnly(m.cache, name, cert)
	return false, nil
}

// end stops renewals. certmagic may wait for an OCSP responder: that is not waited for.
func (a *ACME) end() {
	a.stopNow()
	a.storage.leave()
	stopped := make(chan struct{})
	go func() { a.now.Load().cache.Stop(); close(stopped) }()
	select {
	case <-stopped:
	case <-time.After(stopTime):
	}
}
