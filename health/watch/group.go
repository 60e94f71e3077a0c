package watch

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"maps"
	"net"
	"net/netip"
	"slices"
	"strings"
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

	// silence is after how many intervals without a word a watcher's opinions count no more.
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
	resync  chan struct{} // holds one token while the views of all others are to be fetched
	roles   []health.Role // for which this watcher's opinions count; empty: all
	queue   memberlist.TransmitLimitedQueue

	mu      sync.Mutex // guards all below
	keyring *memberlist.Keyring
	list    *memberlist.Memberlist // nil while the listener is not open
	members map[string]*member     // the others, by name; those that are gone stay for a while
	own     Book
	wanted  map[string]bool // the url_prefixes of this watcher's own list
	young   time.Duration   // see silence
	joints  jointVerdicts
	looked  map[string]time.Time // when a second look at a mirror was asked for, by url_prefix
	claims  map[string]bool      // the mirrors that want one now
	problem string               // why the listener is not open, or members cannot be reached
}

// A member is another watcher.
type member struct {
	book    Book
	alive   bool
	since   time.Time // when alive changed
	heard   time.Time // when it last said something
	address string    // host:port
	meta    meta
}

// A meta is what a watcher says of itself to each member.
type meta struct {
	Roles   []health.Role `json:"roles,omitempty"` // for which its opinions count; empty: all
	Only    bool          `json:"only,omitempty"`
	Version string        `json:"version"`
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
		o: o, changed: make(chan struct{}, 1), whole: make(chan struct{}, 1), resync: make(chan struct{}, 1), keyring: keyring,
		members: map[string]*member{}, joints: jointVerdicts{}, looked: map[string]time.Time{}, claims: map[string]bool{},
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

// HasKeys reports whether keys are those of the group already.
func (g *Group) HasKeys(keys [][]byte) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return slices.EqualFunc(g.keyring.GetKeys(), keys, bytes.Equal)
}

// Changed delivers a value after other watchers have said something new, joined or left.
func (g *Group) Changed() <-chan struct{} { return g.changed }

// Run takes part in the group until ctx ends, and says goodbye then.
func (g *Group) Run(ctx context.Context) error {
	list, err := g.listen(ctx)
	if err != nil {
		return nil // ctx has ended
	}
	g.o.Log.Info("watching with others", zap.String("name", g.o.Config.Name), zap.String("address", list.LocalNode().Address()))
	tasks, ctx := errgroup.WithContext(ctx)
	tasks.Go(func() error { return g.seek(ctx, list) })
	tasks.Go(func() error { return g.send(ctx, list) })
	err = tasks.Wait()
	if leaving := list.Leave(leaveTime); leaving != nil {
		g.o.Log.Debug("other watchers may not know that this one has stopped", zap.Error(leaving))
	}
	g.mu.Lock()
	g.list = nil
	g.mu.Unlock()
	if closing := list.Shutdown(); closing != nil {
		g.o.Log.Warn("cannot close the listener for other watchers", zap.Error(closing))
	}
	return err
}

// listen opens the listener, again and again until it can be opened: the copy of the program that is replaced may still
// have it. It fails only if ctx ends.
func (g *Group) listen(ctx context.Context) (*memberlist.Memberlist, error) {
	for said := ""; ; {
		settings, err := g.settings(ctx)
		if err == nil {
			var list *memberlist.Memberlist
			if list, err = memberlist.Create(settings); err == nil {
				g.mu.Lock()
				g.list, g.problem = list, ""
				g.mu.Unlock()
				return list, nil
			}
		}
		g.setProblem(err.Error())
		if said != err.Error() {
			said = err.Error()
			g.o.Log.Warn("cannot listen for other watchers", zap.String("address", g.o.Config.Listen), zap.Error(err))
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(retryListen):
		}
	}
}

// settings are memberlist's: those for networks across the Internet where it matters, but quicker to notice what is
// lost.
func (g *Group) settings(ctx context.Context) (*memberlist.Config, error) {
	listen, err := netip.ParseAddrPort(g.o.Config.Listen)
	if err != nil {
		return nil, err
	}
	advertise, err := g.advertised(ctx, listen)
	if err != nil {
		return nil, err
	}
	c := memberlist.DefaultLANConfig()
	c.Name = g.o.Config.Name
	c.BindAddr, c.BindPort = listen.Addr().String(), int(listen.Port())
	c.AdvertiseAddr, c.AdvertisePort = advertise.Addr().String(), int(advertise.Port())
	c.Keyring = g.keyring
	c.ProbeTimeout = time.Second // Tor and other continents are slow
	c.TCPTimeout = dialTimeout
	c.GossipInterval = gossipEvery
	c.PushPullInterval = syncEvery
	c.DeadNodeReclaimTime = retryListen // a watcher may come back at another address
	c.DelegateProtocolVersion, c.DelegateProtocolMin, c.DelegateProtocolMax = protocol, protocol, protocol
	c.Delegate, c.Events, c.Alive, c.Conflict = (*delegate)(g), (*delegate)(g), (*delegate)(g), (*delegate)(g)
	c.Logger = log.New(logWriter{g.o.Log}, "", 0)
	return c, nil
}

// advertised is the address at which the others reach this watcher: watch.advertise, or that of the listener, or if it
// listens everywhere, the address from which it reaches the first of the others.
func (g *Group) advertised(ctx context.Context, listen netip.AddrPort) (netip.AddrPort, error) {
	if g.o.Config.Advertise.IsValid() {
		return g.o.Config.Advertise, nil
	}
	if !listen.Addr().IsUnspecified() {
		return listen, nil
	}
	for _, peer := range g.o.Config.Join {
		conn, err := (&net.Dialer{Timeout: dialTimeout}).DialContext(ctx, "udp", peer) // this sends nothing
		if err != nil {
			continue
		}
		local := conn.LocalAddr().(*net.UDPAddr).AddrPort().Addr().Unmap()
		conn.Close()
		if !local.IsLoopback() || len(g.o.Config.Join) == 1 {
			return netip.AddrPortFrom(local, listen.Port()), nil
		}
	}
	return netip.AddrPort{}, errors.New("cannot tell at which address the others reach this watcher: set watch.advertise")
}

// seek joins the group, and looks for members that are missing until ctx ends: those of the configuration, and those
// that were lost.
func (g *Group) seek(ctx context.Context, list *memberlist.Memberlist) error {
	ticker := time.NewTicker(rejoinEvery)
	defer ticker.Stop()
	for {
		g.join(ctx, list)
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		case <-g.resync:
			g.fetch(list)
		}
	}
}

// fetch exchanges views with all members that live. What they said of mirrors that were not in this watcher's list
// until now was not kept.
func (g *Group) fetch(list *memberlist.Memberlist) {
	var peers []string
	for _, node := range list.Members() {
		if node.Name != g.o.Config.Name {
			peers = append(peers, node.Address())
		}
	}
	if _, err := list.Join(peers); err != nil { // the next exchange of two mends it
		g.o.Log.Debug("cannot fetch what other watchers say", zap.Error(err))
	}
}

// join tries to reach the members that are missing, all at once.
func (g *Group) join(ctx context.Context, list *memberlist.Memberlist) {
	var mu sync.Mutex
	failed := ""
	var trying sync.WaitGroup
	for _, peer := range g.missing(ctx, list) {
		trying.Go(func() {
			if _, err := list.Join([]string{peer}); err != nil {
				mu.Lock()
				defer mu.Unlock()
				failed = fmt.Sprintf("cannot reach %s: %s", peer, joinError(err, peer))
			}
		})
	}
	trying.Wait()
	g.setProblem(failed)
}

// joinError says why a member could not be joined, in a line.
func joinError(err error, peer string) string {
	var op *net.OpError
	if errors.As(err, &op) && op.Op == "dial" {
		return op.Err.Error()
	}
	if errors.Is(err, io.EOF) || strings.Contains(err.Error(), "decrypt") {
		return "its keys are others: look at watch.key_file of both"
	}
	if inner := errors.Unwrap(err); inner != nil { // the first of a list of one
		err = inner
	}
	return strings.TrimPrefix(err.Error(), "failed to join "+peer+": ")
}

// missing are the addresses at which a member is expected, and none is known to live.
func (g *Group) missing(ctx context.Context, list *memberlist.Memberlist) []string {
	there := map[string]bool{}
	for _, node := range list.Members() {
		there[node.Address()] = true
	}
	var peers []string
	for _, peer := range g.o.Config.Join {
		if !slices.ContainsFunc(lookup(ctx, peer), func(addr string) bool { return there[addr] }) {
			peers = append(peers, peer)
		}
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, m := range g.members {
		if !m.alive && m.address != "" && !there[m.address] && !slices.Contains(peers, m.address) {
			peers = append(peers, m.address)
		}
	}
	return peers
}

// lookup returns the addresses of host:port, each with the port.
func lookup(ctx context.Context, peer string) []string {
	host, port, err := net.SplitHostPort(peer)
	if err != nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	found, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return nil
	}
	list := make([]string, len(found))
	for i, addr := range found {
		list[i] = net.JoinHostPort(addr.Unmap().String(), port)
	}
	return list
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
	text, err := json.Marshal(meta{g.roles, g.o.Config.Only, g.o.Version[:min(len(g.o.Version), 100)]})
	if err != nil { // it holds nothing that cannot be written
		return nil
	}
	return text
}

// Apply shares what a report says, and makes the verdicts in it the joint ones.
func (g *Group) Apply(r *health.Report) {
	g.mu.Lock()
	news, whole := g.own.observe(r, g.o.Config.Name)
	g.follow(r)
	others := g.counted(r.At)
	if len(others) < minOthers {
		others = nil
	}
	if len(others) > 0 || len(g.joints) > 0 {
		g.decide(r, others)
	}
	g.mu.Unlock()
	switch {
	case whole:
		signal(g.whole)
	case news != nil:
		g.broadcast(news)
	}
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

// ZoneVersions are those that the other watchers serve, by name.
func (g *Group) ZoneVersions() map[string]ZoneVersion {
	g.mu.Lock()
	defer g.mu.Unlock()
	versions := map[string]ZoneVersion{}
	for name, m := range g.members {
		if m.alive && m.book.zone.Serial != 0 {
			versions[name] = m.book.zone
		}
	}
	return versions
}

// follow takes over the list of mirrors and the interval. g.mu is held.
func (g *Group) follow(r *health.Report) {
	g.young = silence*r.Policy.Interval + r.Policy.Timeout
	others := len(g.wanted) != len(r.Mirrors)
	for prefix := range r.Mirrors {
		others = others || !g.wanted[prefix]
	}
	if !others {
		return
	}
	signal(g.resync)
	g.wanted = make(map[string]bool, len(r.Mirrors))
	for prefix := range r.Mirrors {
		g.wanted[prefix] = true
	}
	for _, m := range g.members {
		m.book.forget(g.wants)
	}
	maps.DeleteFunc(g.joints, func(prefix string, _ map[place]joint) bool { return !g.wanted[prefix] })
	maps.DeleteFunc(g.looked, func(prefix string, _ time.Time) bool { return !g.wanted[prefix] })
}

// wants reports whether a mirror is in this watcher's own list. g.mu is held.
func (g *Group) wants(urlPrefix string) bool { return g.wanted[urlPrefix] }

// counted are the other watchers whose opinions count at a time. g.mu is held.
func (g *Group) counted(now time.Time) map[string]*member {
	list := map[string]*member{}
	for name, m := range g.members {
		if m.alive && !m.heard.IsZero() && now.Sub(m.heard) <= g.young {
			list[name] = m
		}
	}
	return list
}

// decide makes the verdicts in a report the joint ones. g.mu is held.
func (g *Group) decide(r *health.Report, others map[string]*member) {
	for prefix, m := range r.Mirrors {
		said := make(map[place][]vote, len(m.Endpoints)+1)
		for name, other := range others {
			for _, o := range other.book.mirrors[prefix].List {
				if !other.meta.counts(o.Role) {
					o.State = health.Unknown
				}
				said[o.place()] = append(said[o.place()], vote{name, o})
			}
		}
		judge := func(e *health.Endpoint, p place) {
			own := vote{g.o.Config.Name, opinionOf(e, p)}
			if !(&meta{Roles: g.roles}).counts(p.role) {
				own.State = health.Unknown
			}
			g.joints.apply(prefix, p, e, append([]vote{own}, said[p]...), g.o.Config.Quorum, r.At, g.young)
		}
		for i := range m.Endpoints {
			e := &m.Endpoints[i]
			judge(e, place{e.Address, e.Role})
			if e.State == health.Up && e.Role != health.Rsync {
				m.Newcomer[e.Role] = false
			}
		}
		if m.Rsync != nil {
			judge(m.Rsync, place{role: health.Rsync})
		}
		r.Mirrors[prefix] = m
	}
}

// counts reports whether a watcher's opinions count for a role.
func (m *meta) counts(role health.Role) bool {
	return len(m.Roles) == 0 || slices.Contains(m.Roles, role)
}

// claim notes that another watcher holds mirrors unfit: they want a second look, though not more often than every
// interval, whatever others claim. g.mu is held.
func (g *Group) claim(v *View) {
	now := g.o.Now()
	for prefix, m := range v.Mirrors {
		if slices.ContainsFunc(m.List, func(o Opinion) bool { return o.unfit() }) && g.wanted[prefix] &&
			now.Sub(g.looked[prefix]) >= g.young/silence {
			g.looked[prefix] = now
			g.claims[prefix] = true
		}
	}
}

// Claims returns the mirrors that another watcher has found unfit since the last call: this one should look at them,
// because it takes two to decide.
func (g *Group) Claims() []string {
	g.mu.Lock()
	defer g.mu.Unlock()
	list := slices.Sorted(maps.Keys(g.claims))
	clear(g.claims)
	return list
}

// signal leaves a token in ch unless there is one.
func signal(ch chan struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}
