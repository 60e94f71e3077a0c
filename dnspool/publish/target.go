package publish

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/miekg/dns"
	"go.uber.org/zap"

	"mirrorpool/config"
	"mirrorpool/dnspool"
	"mirrorpool/dnspool/tsig"
)

const (
	updatePause       = time.Second      // from one attempt to the next, at least
	reconcileInterval = time.Minute      // how often a server is asked whether all is as it was left
	maxReconcile      = time.Hour        // between two, while another program keeps changing it
	patience          = 10 * time.Minute // with mirrors whose addresses are not known, after the start
	maxRounds         = 3                // in which another program may be faster
	verifyTime        = 5 * time.Second  // until an update has to be seen in answers
	verifyPause       = 50 * time.Millisecond
	reportOnly        = "report" // the value of reconcile
)

// errForeign says that another program has changed what we keep, and that this is to be reported only.
var errForeign = errors.New("changed by another program")

// A target is one zone at one server.
type target struct {
	peer
	schedule
	outcome
	config    config.Publish
	log       *zap.Logger
	reconcile time.Duration
	started   time.Time
	snapshot  atomic.Pointer[dnspool.Snapshot]
	wake      chan struct{}

	left     sets // as it was left, or found to be; nil before that. All below belongs to run
	tried    sets // what may have arrived besides
	disputes int  // how often in a row another program has changed it

	counts counts
}

// counts are what a target has to tell.
type counts struct {
	updates, conflicts, failures, foreign atomic.Uint64
	good                                  atomic.Bool  // the latest attempt was
	checked                               atomic.Int64 // when all was last seen to be in order, in seconds since 1970
}

func newTarget(c config.Publish, log *zap.Logger) (*target, error) {
	var key *tsig.Key
	if c.TSIG != "" {
		var err error
		if key, err = tsig.LoadOne(c.TSIG); err != nil {
			return nil, err
		}
	}
	return &target{
		peer: newPeer(c.Server, c.Source, key), schedule: schedule{updatePause, firstRetry, lastRetry}, config: c,
		reconcile: reconcileInterval,
		log:       log.With(zap.String("server", c.Server), zap.String("zone", c.Zone)),
		started:   time.Now(), wake: make(chan struct{}, 1),
	}, nil
}

// follow takes in a new snapshot.
func (t *target) follow(s *dnspool.Snapshot) {
	if old := t.snapshot.Swap(s); old == nil || old.Serial != s.Serial {
		signal(t.wake)
	}
}

// run keeps the target as the latest snapshot wants it, until ctx ends. While another program keeps changing it, it
// looks less and less often: two that both insist would never end.
func (t *target) run(ctx context.Context) {
	pace := pacer{schedule: t.schedule, idle: t.reconcile}
	for pace.wait(ctx, t.wake) {
		s := t.snapshot.Load()
		if s == nil {
			continue
		}
		_, err := t.keep(ctx, s)
		if ctx.Err() != nil {
			return
		}
		t.tell(err)
		if errors.Is(err, errForeign) || errors.Is(err, errNoAddress) {
			err = nil // to try again is of no use before something changes
		}
		pace.idle = min(t.reconcile<<min(t.disputes, 10), max(t.reconcile, maxReconcile))
		pace.done(err)
	}
}

// tell logs what came of an attempt, if it is not what came of the one before.
func (t *target) tell(err error) {
	t.counts.good.Store(err == nil)
	if err != nil {
		t.counts.failures.Add(1)
	}
	switch news := t.note(err, t.now()); {
	case news && err != nil:
		t.log.Warn("publishing failed", zap.Error(err))
	case news:
		t.log.Info("publishing works again")
	}
}

// keep makes the server hold what s wants, and returns what it has changed.
func (t *target) keep(ctx context.Context, s *dnspool.Snapshot) ([]change, error) {
	conn, err := t.dial(ctx, "tcp")
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	for round := range maxRounds {
		seen, err := t.read(ctx, conn)
		if err != nil {
			return nil, err
		}
		want, empty := t.wanted(s, seen)
		changes := compare(seen, want)
		if len(changes) == 0 {
			t.inOrder(want)
			t.disputes = 0
			return nil, empty
		}
		if round == 0 {
			if err := t.judge(seen, want); err != nil {
				return nil, err
			}
		}
		done, err := t.send(ctx, conn, changes, want)
		if err != nil {
			return nil, err
		}
		if done {
			if err := t.verify(ctx, conn, want); err != nil {
				return changes, err
			}
			return changes, empty
		}
		t.counts.conflicts.Add(1)
	}
	return nil, &Error{t.addr, "update of " + t.config.Zone, dns.RcodeNXRrset,
		errors.New("the update was rejected three times because the records had changed in between: " +
			"another program keeps changing them, or a wildcard answers for a name")}
}

// wanted is what the target should hold; err is errNoAddress if there is no mirror to publish.
func (t *target) wanted(s *dnspool.Snapshot, seen sets) (want sets, err error) {
	if want, err = wanted(t.config, s, s.Built.Sub(t.started) < patience, seen); err != nil {
		err = &Error{t.addr, "update of " + t.config.Zone, -1, err}
	}
	return want, err
}

// judge looks for changes by other programs, and returns an error if these are to be left alone.
func (t *target) judge(seen, want sets) error {
	var foreign []string
	for _, p := range want.places() {
		left, known := t.left[p]
		if known && !seen[p].equal(left) && !seen[p].equal(want[p]) && !seen[p].equal(t.tried[p]) {
			foreign = append(foreign, fmt.Sprintf("%v holds %v, not %v", p, seen[p], left))
		}
	}
	if len(foreign) == 0 {
		return nil
	}
	if t.config.Reconcile == reportOnly && want.equal(t.left) {
		return &Error{t.addr, "look at " + t.config.Zone, -1, fmt.Errorf("%w: %s", errForeign, strings.Join(foreign, "; "))}
	}
	t.disputes++
	t.counts.foreign.Add(1)
	t.log.Warn("reverting foreign change", zap.Strings("changes", foreign))
	return nil
}

// inOrder notes that the server holds what it should.
func (t *target) inOrder(want sets) {
	t.left, t.tried = want, nil
	t.counts.checked.Store(t.now().Unix())
}

// read asks the server what it holds.
func (t *target) read(ctx context.Context, conn net.Conn) (sets, error) {
	seen := sets{}
	for _, p := range placesOf(t.config) {
		step := fmt.Sprintf("query for %v", p)
		req := new(dns.Msg).SetQuestion(p.name, p.rrtype())
		req.RecursionDesired = false
		resp, err := t.exchange(ctx, conn, step, req)
		if err != nil {
			return nil, err
		}
		if resp.Rcode != dns.RcodeSuccess && resp.Rcode != dns.RcodeNameError {
			return nil, t.refused(step, resp.Rcode)
		}
		if !resp.Authoritative {
			return nil, &Error{t.addr, step, resp.Rcode, errors.New("it has no authority for this name: want the zone's primary")}
		}
		if seen[p], err = p.read(resp.Answer); err != nil {
			return nil, &Error{t.addr, step, resp.Rcode, err}
		}
	}
	return seen, nil
}

// read returns the set at p that an answer gives.
func (p place) read(answer []dns.RR) (set, error) {
	var s set
	for _, rr := range answer {
		if dns.CanonicalName(rr.Header().Name) != p.name {
			continue
		}
		var data net.IP
		switch rr := rr.(type) {
		case *dns.A:
			data = rr.A
		case *dns.AAAA:
			data = rr.AAAA
		case *dns.CNAME:
			return set{}, errors.New("there is a CNAME record, which no address can stand beside: take it away")
		}
		if addr, ok := netip.AddrFromSlice(data); ok && rr.Header().Rrtype == p.rrtype() {
			s.addrs, s.ttl = append(s.addrs, addr.Unmap()), rr.Header().Ttl
		}
	}
	slices.SortFunc(s.addrs, netip.Addr.Compare)
	return s, nil
}

// send sends the update. It is not done if the server holds something else by now.
func (t *target) send(ctx context.Context, conn net.Conn, changes []change, want sets) (done bool, err error) {
	step := "update of " + t.config.Zone
	t.tried = want // it may arrive without our learning so
	resp, err := t.exchange(ctx, conn, step, update(t.config.Zone, changes))
	if err != nil {
		return false, err
	}
	switch resp.Rcode {
	case dns.RcodeSuccess:
		t.counts.updates.Add(1)
		for _, c := range changes {
			t.log.Info("published", zap.Stringer("at", c.place), zap.Stringers("addresses", c.to.addrs))
		}
		return true, nil
	case dns.RcodeNXRrset, dns.RcodeYXRrset:
		return false, nil
	default:
		return false, t.refused(step, resp.Rcode)
	}
}

// verify asks until the server answers with what was sent.
func (t *target) verify(ctx context.Context, conn net.Conn, want sets) error {
	deadline := t.now().Add(verifyTime)
	for {
		seen, err := t.read(ctx, conn)
		if err != nil {
			return err
		}
		changes := compare(seen, want)
		if len(changes) == 0 {
			t.inOrder(want)
			return nil
		}
		if t.now().After(deadline) {
			c := changes[0]
			return &Error{t.addr, "look after the update of " + t.config.Zone, -1,
				fmt.Errorf("%v still holds %v, not %v", c.place, c.from, c.to)}
		}
		select {
		case <-time.After(verifyPause):
		case <-ctx.Done():
			return &Error{t.addr, "look after the update of " + t.config.Zone, -1, ctx.Err()}
		}
	}
}
