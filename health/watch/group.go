package watch

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/memberlist"
	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"mirrorpool/config"
	"mirrorpool/health"
)

const (
	maxMembers = 64 // besides this watcher

	// minOthers is how many other watchers it takes for joint verdicts: of two watchers that differ, neither is right.
	minOthers = 2

	// silence is after how many intervals without a word, or beats that did not come, a watcher's opinions count no more.
	silence = 3

	// protocol is the version of what views mean. Members with another one are refused.
	protocol = 1

	gossipEvery = 100 * time.Millisecond
	syncEvery   = 10 * time.Second // how often two members at random exchange their views
	rejoinEvery = 2 * time.Second  // how often members are sought that are missing
	retryListen = time.Second      // after the listener could not be opened
	dialTimeout = 3 * time.Second
	leaveTime   = time.Second // to say goodbye
)

// Options are what a Group works with.
type Options struct {
	Config  config.Watch
	Version string // of the program
	Log     *zap.Logger
	Now     func() time.Time
}

// A Group is the watchers that share what they see, as one of them knows it.
type Group struct {
	o       Options
	changed chan struct{} // holds one token while views of others have changed
	whole   chan struct{} // holds one token while the whole view is to be sent to all
	wanting chan struct{} // holds one token while others want whole views
	roles   []health.Role // for which this watcher's opinions count; empty: all
	queue   memberlist.TransmitLimitedQueue

	parsing sync.Mutex // held while a long view is read, which takes several times the memory of its text

	mu         sync.Mutex // guards all below
	keyring    *memberlist.Keyring
	members    map[string]*member    // the others, by name; those that are gone stay for a while
	asked      map[request]bool      // which others want, and have not got yet
	replied    map[request]time.Time // when they got them, within replyEvery
	own        Book
	wanted     map[string]bool // the url_prefixes of this watcher's own list
	young      time.Duration   // see silence
	joints     jointVerdicts
	looked     map[string]time.Time // when a second look at a mirror was asked for, by url_prefix
	claims     map[string]bool      // the mirrors that want one now
	releases   map[string]bool      // see Releases
	goodbye    bool                 // it was said: nothing else is said after it
	tooMany    map[string]bool      // mirrors with more endpoints than are shared
	sought     map[netip.Addr]bool  // where watch.join is
	conflict   string               // what kept watchers apart at conflictAt, such as that two had one name
	conflictAt time.Time
	problem    string // why the listener is not open, or members cannot be reached
}

// A member is another watcher.
type member struct {
	book    Book
	alive   bool
	stopped bool      // it has said that it stops
	since   time.Time // when alive changed
	heard   time.Time // when it last said something
	whole   time.Time // the same, while nothing that it had said was missed
	missed  missed
	beat    time.Duration // how often it says that it is alive; 0: it does not tell
	address string        // host:port
	meta    meta
}

// A meta is what a watcher says of itself to each member.
type meta struct {
	Roles   []health.Role `json:"roles,omitempty"` // for which its opinions count; empty: all
	Only    bool          `json:"only,omitempty"`
	Version string        `json:"version"`
	Quorum  float64       `json:"quorum,omitempty"` // 0: it does not say
}

// New returns a group of which this watcher is the only member. Nothing is opened until Run. It fails if the key file
// cannot be read.
func New(o Options) (*Group, error) {
	keys, err := ReadKeys(o.Config.KeyFile)
	if err != nil {
		return nil, fmt.Errorf("watch.key_file: %w", err)
	}
	keyring, err := memberlist.NewKeyring(keys, keys[0])
	if err != nil {
		return nil, fmt.Errorf("watch.key_file: %w", err)
	}
	g := &Group{
		o: o, changed: make(chan struct{}, 1), whole: make(chan struct{}, 1), wanting: make(chan struct{}, 1),
		keyring: keyring, members: map[string]*member{}, asked: map[request]bool{}, joints: jointVerdicts{},
		replied: map[request]time.Time{}, looked: map[string]time.Time{}, claims: map[string]bool{}, releases: map[string]bool{},
	}
	for _, name := range o.Config.Counts {
		var role health.Role
		if err := role.UnmarshalText([]byte(name)); err != nil {
			return nil, fmt.Errorf("watch.counts: %w", err)
		}
		g.roles = append(g.roles, role)
	}
	g.own.begin(o.Now())
	g.queue = memberlist.TransmitLimitedQueue{RetransmitMult: 4, NumNodes: g.size}
	return g, nil
}

// SetKeys makes keys those of the group, the first one that which encrypts. Members that have none of them are lost.
func (g *Group) SetKeys(keys [][]byte) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, key := range keys {
		if err := g.keyring.AddKey(key); err != nil {
			return err
		}
	}
	if err := g.keyring.UseKey(keys[0]); err != nil {
		return err
	}
	for _, old := range g.keyring.GetKeys() {
		if !slices.ContainsFunc(keys, func(key []byte) bool { return string(key) == string(old) }) {
			if err := g.keyring.RemoveKey(old); err != nil {
				return err
			}
		}
	}
	return nil
}

// HasKeys reports whether keys are those of the group already, with the same first one. The order of the others means
// nothing.
func (g *Group) HasKeys(keys [][]byte) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	has := g.keyring.GetKeys()
	sort := func(list [][]byte) [][]byte { return slices.SortedFunc(slices.Values(list), bytes.Compare) }
	return len(keys) > 0 && bytes.Equal(has[0], keys[0]) && slices.EqualFunc(sort(has), sort(keys), bytes.Equal)
}

// Changed delivers a value after other watchers have said something new, joined or left.
func (g *Group) Changed() <-chan struct{} { return g.changed }

// Run takes part in the group until ctx ends. It says goodbye then if stopped reports that this watcher was stopped:
// one that ends because something has failed is lost.
func (g *Group) Run(ctx context.Context, stopped func() bool) error {
	list, err := g.listen(ctx)
	if err != nil {
		return nil // ctx has ended
	}
	g.o.Log.Info("watching with others", zap.String("name", g.o.Config.Name), zap.String("address", list.LocalNode().Address()))
	tasks, ctx := errgroup.WithContext(ctx)
	tasks.Go(func() error { return g.seek(ctx, list) })
	tasks.Go(func() error { return g.beats(ctx) })
	tasks.Go(func() error { return g.send(ctx, list) })
	tasks.Go(func() error { return g.catchUp(ctx, list) })
	tasks.Go(func() error { return g.passOn(ctx, list) })
	err = tasks.Wait()
	if stopped() {
		g.sayGoodbye(context.WithoutCancel(ctx), list)
	}
	if leaving := list.Leave(leaveTime); leaving != nil {
		g.o.Log.Debug("other watchers may not know that this one has stopped", zap.Error(leaving))
	}
	if closing := list.Shutdown(); closing != nil {
		g.o.Log.Warn("cannot close the listener for other watchers", zap.Error(closing))
	}
	return err
}

func (g *Group) setProblem(text string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.problem = text
}

// size is the number of members, with this one.
func (g *Group) size() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return 1 + g.living()
}

// living is the number of the other members that live. g.mu is held.
func (g *Group) living() (n int) {
	for _, m := range g.members {
		n += count(m.alive)
	}
	return n
}

// metadata is what this watcher says of itself.
func (g *Group) metadata() []byte {
	text, err := json.Marshal(meta{g.roles, g.o.Config.Only, g.o.Version[:min(len(g.o.Version), 100)], g.o.Config.Quorum})
	if err != nil { // it holds nothing that cannot be written
		return nil
	}
	return text
}

// Announce tells the others which version of the zone this watcher serves.
func (g *Group) Announce(z ZoneVersion) {
	g.mu.Lock()
	if z == g.own.zone {
		g.mu.Unlock()
		return
	}
	g.own.zone = z
	v := g.own.header(g.o.Config.Name)
	g.mu.Unlock()
	g.broadcast(v)
}

// ZoneVersions are those that the other watchers serve, by name. One that is gone may only be out of reach, and serve
// on.
func (g *Group) ZoneVersions() map[string]ZoneVersion {
	g.mu.Lock()
	defer g.mu.Unlock()
	versions := map[string]ZoneVersion{}
	for name, m := range g.members {
		if m.book.zone.Serial != 0 && !g.goneForLong(m) {
			versions[name] = m.book.zone
		}
	}
	return versions
}

// signal leaves a token in ch unless there is one.
func signal(ch chan struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}
