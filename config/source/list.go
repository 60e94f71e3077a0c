package source

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"path/filepath"
	"sync"
	"time"

	"go.uber.org/zap"

	"mirrorpool/config"
)

const (
	startTime = 5 * time.Second // for the source to answer at start, where a saved list can serve
	lookTime  = time.Minute     // for one look, with the pauses in it
)

// Options are what a List works with.
type Options struct {
	Source   string // a path, or an https URL
	StateDir string // where accepted lists are saved, or empty
	Text     []byte // the list itself, if not nil; Source is only its name then

	Settings Settings // until SetSettings is called

	// Working returns which mirrors were fit to serve when the program ended, by their url_prefix, or nil if that is not
	// known. It is asked until SetWorking's function knows better. It may be nil.
	Working func() map[string]bool

	Transport http.RoundTripper // nil: one of its own
	Log       *zap.Logger
	Now       func() time.Time
	Rand      *rand.Rand // for Run only; nil: unpredictable
}

// Settings are how a list is looked at and judged.
type Settings struct {
	Refresh time.Duration // between looks
	Guard   float64       // see [config.Guard]
	DNS     config.DNS    // whose names are not for mirrors
	Keys    []string      // minisign public keys, one of which must have signed the list; none: no signature is asked for
}

// A List is the pool in force, and how it came to be.
type List struct {
	o      Options
	origin string // the source, whatever the working folder is
	reader reader

	looking sync.Mutex // held during a look, one at a time; guards these:
	fetched *document  // at the latest look that succeeded
	inForce *document
	held    *document // nil: none
	latest  *Update   // see Result.Latest
	// replaced is the list that the one in force has replaced, to which a way back is open; nil if there is none, or
	// that way was taken.
	replaced  []byte                 // its SHA-256
	marked    *heldMark              // the update that was held back before the start, or nil
	working   func() map[string]bool // nil: all mirrors work
	onNewText func()                 // nil: nothing to call

	// mu guards these. They are written only with looking held, so its holder may read them without mu.
	mu       sync.Mutex
	pool     *config.Pool
	status   Status
	settings Settings
}

// New returns a list without a pool.
func New(o Options) (*List, error) {
	if o.Rand == nil {
		o.Rand = rand.New(rand.NewPCG(rand.Uint64(), rand.Uint64()))
	}
	l := &List{o: o, origin: o.Source, status: Status{Source: o.Source}, settings: o.Settings}
	var err error
	if _, err := newPublicKeys(o.Settings.Keys, o.Source); err != nil {
		return nil, err
	}
	switch {
	case o.Text != nil:
		l.reader = text(o.Text)
	case isWeb(o.Source):
		l.reader, err = newWeb(o.Source, o.Transport)
	default:
		l.reader = file{o.Source}
		l.origin, err = filepath.Abs(o.Source)
	}
	return l, err
}

// Pool returns the pool in force. It is nil before Start.
func (l *List) Pool() *config.Pool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.pool
}

// Status returns what there is to say of the pool in force.
func (l *List) Status() Status {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.status
}

// SetSettings puts other settings in force, for what is read from now on. It waits for a look that is under way. If the
// pool in force does not fit them, it returns why and changes nothing.
func (l *List) SetSettings(s Settings) error {
	l.looking.Lock()
	defer l.looking.Unlock()
	if err := l.Fits(s.DNS); err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.settings = s
	return nil
}

// SetWorking has the guard know which mirrors are fit to serve, by their url_prefix: see [config.Guard]. working
// returns nil while nothing is known.
func (l *List) SetWorking(working func() map[string]bool) {
	l.looking.Lock()
	defer l.looking.Unlock()
	l.working = working
}

// OnNewText has seen called before a list that differs from the one in force is parsed.
func (l *List) OnNewText(seen func()) {
	l.looking.Lock()
	defer l.looking.Unlock()
	l.onNewText = seen
}

// works is what the guard knows of health: nil if nothing. now is true if that is how the mirrors are now, and not how
// they were before the start.
func (l *List) works() (works func(urlPrefix string) bool, now bool) {
	var working map[string]bool
	if l.working != nil {
		working = l.working()
	}
	if now = working != nil; now {
		l.o.Working = nil // what it holds is not needed any more
	} else if l.o.Working != nil {
		working = l.o.Working()
	}
	if working == nil {
		return nil, false
	}
	return func(urlPrefix string) bool {
		works, known := working[urlPrefix] // one that was added a moment ago may not be known yet
		return works || !known
	}, now
}

// Fits returns an error if mirrors of the pool in force have names that dns uses for something else.
func (l *List) Fits(dns config.DNS) error {
	pool := l.Pool()
	var errs []error
	for _, found := range pool.Collisions(dns) {
		errs = append(errs, fmt.Errorf("%s: the mirror %s in force: %w", l.o.Source, pool.Mirrors[found.Mirror].URLPrefix, found))
	}
	return errors.Join(errs...)
}

// Start puts the first pool in force: what the source has, or else what was saved. If there is neither, the
// error says why; it is a [*RefusedError] if the source has a list that cannot be used.
//
// The guard compares with what was saved: to restart the server must not be a way around it.
func (l *List) Start(ctx context.Context) error {
	if l.useSaved() {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, startTime)
		defer cancel()
	}
	r := l.Reload(ctx, false)
	if l.Pool() == nil {
		return r.Err
	}
	if s := l.Status(); s.Kept {
		l.o.Log.Warn("serving the saved list of mirrors", zap.String("source", s.Source),
			zap.Time("accepted", s.Loaded), zap.Duration("age", l.o.Now().Sub(s.Loaded).Round(time.Second)), zap.Error(r.Err))
	}
	return nil
}

// useSaved puts the saved list in force, if there is one that can be used.
func (l *List) useSaved() bool {
	if l.o.StateDir == "" {
		return false
	}
	k, err := loadLastGood(l.o.StateDir)
	switch {
	case err != nil:
		l.o.Log.Warn("the saved list of mirrors cannot be used; see that state_dir is a folder mirrorpool may write to", zap.Error(err))
		return false
	case k == nil:
		return false
	case k.Source != l.origin:
		l.o.Log.Warn("the saved list of mirrors is from another source; not used", zap.String("saved", k.Source),
			zap.String("source", l.origin))
		return false
	}
	keys, err := newPublicKeys(l.settings.Keys, l.o.Source)
	if err != nil {
		return false // Reload returns the same
	}
	d := k.document(keys != nil)
	if keys != nil {
		if err := keys.verify(d); err != nil {
			l.o.Log.Warn("the saved list of mirrors is not signed with mirrors_key; not used", zap.Error(err))
			return false
		}
	}
	pool, _, err := config.ParsePoolIn(l.o.Source, k.list, l.settings.DNS)
	if err == nil && pool.EnabledMirrors() == 0 {
		err = errors.New("no mirror is enabled")
	}
	if err != nil {
		l.o.Log.Warn("the saved list of mirrors is not valid; not used", zap.Error(summary(err)))
		return false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.pool, l.inForce, l.marked, l.replaced = pool, d, k.Held, k.Replaced
	l.status.Loaded, l.status.Kept, l.status.Digest = k.Accepted, true, hex.EncodeToString(sumOf(d))
	return true
}

// Reload looks at the source now. What it finds comes into force unless it is bad, or the guard holds it back; confirm
// accepts the update that was held. If the source has changed since and the guard rejects the new version as well, that
// version is held instead. Whatever fails, the pool in force stays.
func (l *List) Reload(ctx context.Context, confirm bool) Result {
	l.looking.Lock()
	defer l.looking.Unlock()
	r := l.look(ctx, confirm)
	r.Latest, l.latest = l.latest, nil
	return r
}

// refresh is Reload without a request.
func (l *List) refresh(ctx context.Context) Result {
	l.looking.Lock()
	defer l.looking.Unlock()
	r := l.look(ctx, false)
	if r.Applied {
		l.latest = &Update{At: l.o.Now(), Change: r.Change}
	}
	return r
}

// look reads the source, and puts in force what may be.
func (l *List) look(ctx context.Context, confirm bool) Result {
	d, keys, err := l.read(ctx)
	if errors.Is(err, context.Canceled) {
		return Result{Err: err} // the caller has given up, which is no fault of the source
	}
	if err != nil {
		return l.fail(err)
	}
	if l.inForce != nil && d.sameList(l.inForce) {
		d.list.data = l.inForce.list.data // one copy of a long text is enough
	}
	l.fetched = d
	j := l.judge(d, keys, confirm)
	switch {
	case j.old:
		l.accept(l.inForce, l.pool)
	case j.Held != nil:
		return l.hold(d, j.Result)
	case j.Err != nil:
		return l.fail(j.Err)
	case j.Applied:
		l.logApplied(j.pool, j.Result)
		l.replaced = sumOf(l.inForce)
		if j.back {
			l.replaced = nil // or a bad list could come back as it left
		}
		l.accept(d, j.pool)
	default:
		l.accept(d, l.pool) // so that what was made of the pool stays
	}
	return j.Result
}

// Preview looks at the source now, and returns what Reload would, without putting anything in force or noting it.
func (l *List) Preview(ctx context.Context, confirm bool) Result {
	l.looking.Lock()
	defer l.looking.Unlock()
	d, keys, err := l.read(ctx)
	if err != nil {
		return Result{Err: err, Latest: l.latest}
	}
	r := l.judge(d, keys, confirm).Result
	r.Latest = l.latest
	return r
}

// read reads the source and checks its signature.
func (l *List) read(ctx context.Context) (*document, *publicKeys, error) {
	keys, err := newPublicKeys(l.settings.Keys, l.o.Source)
	if err != nil {
		return nil, nil, err
	}
	caller := ctx
	ctx, cancel := context.WithTimeout(ctx, lookTime)
	defer cancel()
	d, err := fetch(ctx, l.reader, keys, l.fetched)
	if caller.Err() != nil {
		return nil, nil, context.Cause(caller)
	}
	return d, keys, err
}

// accept puts pool, which d holds, in force.
func (l *List) accept(d *document, pool *config.Pool) {
	if l.status.Error != "" {
		l.o.Log.Info("the list of mirrors can be read again", zap.String("source", l.o.Source))
	}
	now := l.o.Now()
	isNew := !d.same(l.inForce)
	l.inForce, l.held = d, nil
	status := l.status
	if isNew {
		status.Loaded = now
	}
	status.Checked, status.Kept, status.Error, status.Held = now, false, "", nil
	status.Digest = hex.EncodeToString(sumOf(d))
	if isNew || status.KeepError != "" || l.marked != nil {
		l.marked = nil
		status.KeepError = l.keep(d, status.Loaded, nil)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.pool, l.status = pool, status
}

// keep writes d to disk, if there is a place for it, and returns why that failed, or "".
func (l *List) keep(d *document, accepted time.Time, held *heldMark) string {
	if l.o.StateDir == "" {
		return ""
	}
	k := &lastGood{Source: l.origin, Accepted: accepted, Held: held, Replaced: l.replaced, list: d.list.data}
	if d.signature != nil {
		k.Signature = d.signature.data
	}
	if err := k.save(l.o.StateDir); err != nil {
		l.o.Log.Error("cannot save the list of mirrors in state_dir: the next start will need its source", zap.Error(err))
		return err.Error()
	}
	return ""
}

// hold keeps the update that d holds back, as r says.
func (l *List) hold(d *document, r Result) Result {
	again := l.held.same(d)
	l.held = d
	if !l.marked.matches(d) {
		l.marked = newHeldMark(d, *r.Held)
		l.keep(l.inForce, l.status.Loaded, l.marked) // what fails is logged, and tried again with the next list
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.status.Error = r.Err.Error()
	if !again {
		l.status.Held = &Held{Since: l.o.Now(), Decision: *r.Held, Change: r.Change, Digest: hex.EncodeToString(sumOf(d))}
		l.o.Log.Error("update of the list of mirrors is held back; if it is meant: mirrorpool reload --confirm",
			append(changeFields(&r.Change), zap.String("source", l.o.Source), zap.Stringer("why", r.Held))...)
	}
	return r
}

// fail notes why the pool in force stays. What is wrong is logged once, and not at each look.
func (l *List) fail(err error) Result {
	short := summary(err)
	var refused *RefusedError
	l.mu.Lock()
	defer l.mu.Unlock()
	if errors.As(err, &refused) {
		l.held, l.status.Held = nil, nil // the source says something else by now
	}
	if l.pool != nil && l.status.Error != short.Error() { // without a pool the caller tells, and ends
		l.o.Log.Error("cannot use the list of mirrors; the pool in force stays", zap.String("source", l.o.Source),
			zap.NamedError("why", short))
	}
	l.status.Error = short.Error()
	return Result{Err: err}
}

// text is a source in memory.
type text []byte

func (t text) read(_ context.Context, _ string, _ int, last *part) (*part, error) {
	if last != nil {
		return last, nil
	}
	return &part{data: t}, nil
}
