package daemon

import (
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"time"

	"go.uber.org/zap"

	"mirrorpool/config"
	"mirrorpool/config/statefile"
	"mirrorpool/dnspool"
	"mirrorpool/dnspool/admin"
	"mirrorpool/health"
	"mirrorpool/health/watch"
)

// What is shared is bounded, so that each note stays within the limit of its length.
const (
	noteRoom            = 60 << 10 // bytes of a note
	maxSharedNames      = 32       // with challenges, of one server
	maxSharedChallenges = 4        // of a name, and one server
	maxDraining         = 64       // other servers whose drains are kept

	// maxDrainChanges is how often the drains of another server may change within drainWindow. Each change may be a
	// version of the zone: with less than one in a second, serials do not get ahead of the time.
	maxDrainChanges = 200
	drainWindow     = 5 * time.Minute
)

// A drainPace is how often the drains of another server have changed since a time.
type drainPace struct {
	since   time.Time
	changes int
}

// secondReadsEvery is how often other watchers' notes on corrupt files are read, at most: they may be long, and so may
// the list of files in which these are sought.
const secondReadsEvery = 5 * time.Second

// shareTime is how long other servers are given to hear of a change and to answer by it.
const shareTime = 3 * time.Second

// A sharedTXT is the TXT records for challenges of certificate authorities, by owner.
type sharedTXT map[string][]string

// A corruptCopy is a mirror's corrupt file.
type corruptCopy struct {
	Mirror string `json:"mirror"` // its url_prefix
	Path   string `json:"path"`
}

// share tells other watchers what this server knows beside its verdicts. f.mu is held.
func (f *inForce) share() {
	if f.watchers == nil {
		return
	}
	own, _ := f.overrides.Split(f.now())
	drains, all := fitting(own.Drains())
	if !all && !f.warnedUnshared {
		f.log.Warn("too many drains to share with other servers: the last of them count here alone", zap.Int("shared", len(drains)))
	}
	f.warnedUnshared = !all
	corrupt, _ := fitting(f.corruptCopies())
	for topic, value := range map[watch.Topic]any{
		watch.TopicDrains: drains, watch.TopicList: f.sharedList(), watch.TopicChallenges: sharedTXT(f.txt), watch.TopicCorrupt: corrupt,
	} {
		if err := f.watchers.SetNote(topic, value); err != nil {
			f.log.Warn("cannot share all with other watchers", zap.Error(err))
		}
	}
}

// fitting returns as many of a list as there is room for in a note, and whether these are all.
func fitting[T any](list []T) (some []T, all bool) {
	size := 0
	for i := range list {
		text, err := json.Marshal(&list[i])
		if size += len(text) + 1; err != nil || size > noteRoom {
			return list[:i], false
		}
	}
	return list, true
}

// sharedList says which list of mirrors is in force here, and which update is held back.
func (f *inForce) sharedList() admin.SharedList {
	list := f.list.Status()
	shared := admin.SharedList{InForce: list.Digest, Since: list.Loaded.UTC()}
	if list.Held != nil {
		since := list.Held.Since.UTC()
		shared.Held, shared.HeldSince, shared.Why = list.Held.Digest, &since, list.Held.String()
	}
	return shared
}

// corruptCopies are the corrupt files that this server has found.
func (f *inForce) corruptCopies() (list []corruptCopy) {
	found := f.verifier.Corrupt()
	for _, prefix := range slices.Sorted(maps.Keys(found)) {
		for _, path := range found[prefix] {
			list = append(list, corruptCopy{prefix, path})
		}
	}
	return list
}

// notesOn calls take with what each of the other watchers says on a topic.
func notesOn[T any](f *inForce, topic watch.Topic, take func(n *watch.NoteOf, value T)) {
	if f.watchers == nil {
		return
	}
	for _, n := range f.watchers.Notes(topic) {
		var value T
		if err := json.Unmarshal(n.Text, &value); err != nil {
			f.log.Debug("another watcher says what cannot be read", zap.String("watcher", n.Watcher), zap.Error(err))
			continue
		}
		take(&n, value)
	}
}

// takeDrains takes in the drains that were set at other servers. Those of a server that is gone stay until they end.
// f.mu is held.
func (f *inForce) takeDrains() {
	notesOn(f, watch.TopicDrains, f.takeDrainsOf)
	for name, list := range f.elsewhere {
		if going, ended := list.Split(f.now()); len(ended) > 0 {
			f.keepElsewhere(name, going)
		}
	}
}

// takeDrainsOf takes in what one other server says of its drains. f.mu is held.
func (f *inForce) takeDrainsOf(n *watch.NoteOf, theirs dnspool.Overrides) {
	known := f.elsewhere[n.Watcher]
	theirs, _ = theirs.Split(f.now()) // their clock may be behind
	if !n.Alive || slices.Equal(known, theirs) || known == nil && len(f.elsewhere) >= maxDraining || !f.mayChangeDrains(n.Watcher) {
		return
	}
	f.keepElsewhere(n.Watcher, theirs)
}

// mayChangeDrains reports whether a change of the drains of another server counts now, or later. f.mu is held.
func (f *inForce) mayChangeDrains(watcher string) bool {
	now := f.now()
	maps.DeleteFunc(f.drainPaces, func(_ string, p drainPace) bool {
		age := now.Sub(p.since)
		return age < 0 || age >= drainWindow
	})
	p, known := f.drainPaces[watcher]
	if !known {
		p.since = now
	}
	p.changes++
	if p.changes > maxDrainChanges {
		return false
	}
	if f.drainPaces == nil {
		f.drainPaces = map[string]drainPace{}
	}
	f.drainPaces[watcher] = p
	return true
}

// keepElsewhere makes drains those of another server. f.mu is held.
func (f *inForce) keepElsewhere(watcher string, drains dnspool.Overrides) {
	f.elsewhereChanged = true
	if len(drains) == 0 {
		delete(f.elsewhere, watcher)
		return
	}
	f.elsewhere[watcher] = drains
}

// elsewhereFormat is that of the file with the drains of other servers.
var elsewhereFormat = statefile.Format{Kind: "mirrorpool-drains-elsewhere", Version: 1, Limit: 16 << 20}

// loadElsewhere reads the drains of other servers that an earlier run has saved: they count at once.
func (f *inForce) loadElsewhere() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.watchers == nil || f.elsewhereFile == "" {
		return
	}
	saved := map[string]dnspool.Overrides{}
	err := elsewhereFormat.Load(f.elsewhereFile, func(body []byte) error { return json.Unmarshal(body, &saved) })
	if err == nil {
		maps.Copy(f.elsewhere, saved)
	} else {
		f.log.Warn("cannot read the saved drains of other servers", zap.Error(err))
	}
}

// saveElsewhere saves the drains of other servers, if they are others than those that are saved.
func (f *inForce) saveElsewhere() {
	f.mu.Lock()
	if !f.elsewhereChanged || f.elsewhereFile == "" {
		f.mu.Unlock()
		return
	}
	f.elsewhereChanged = false
	body, err := json.Marshal(f.elsewhere)
	f.mu.Unlock()
	if err == nil {
		err = elsewhereFormat.Replace(f.elsewhereFile, body)
	}
	if err != nil {
		f.log.Warn("cannot save the drains of other servers", zap.Error(err))
	}
}

// withDrainsElsewhere returns this server's overrides, and with them the drains that were set at other servers. left
// says how many drains of which server are left out. f.mu is held.
func (f *inForce) withDrainsElsewhere(own dnspool.Overrides) (list dnspool.Overrides, left map[string]int) {
	list, left = own, map[string]int{}
	for _, name := range slices.Sorted(maps.Keys(f.elsewhere)) {
		var over int
		list, over = list.WithDrainsOf(name, f.elsewhere[name], f.pool, f.config.Load().MirrorsGuard, f.now())
		if over > 0 {
			left[name] = over
		}
	}
	return list, left
}

// drainsElsewhere returns the drains of a mirror in some roles that were set at other servers. f.mu is held.
func (f *inForce) drainsElsewhere(prefix string, roles []health.Role) (found dnspool.Overrides) {
	list, _ := f.withDrainsElsewhere(nil)
	for _, role := range roles {
		if o := list.Of(prefix, role); o != nil {
			found = found.With(*o)
		}
	}
	return found
}

// forgetDrains ends drains of a mirror here that were set at servers that are gone. Those of others end there. f.mu is
// held.
func (f *inForce) forgetDrains(prefix string, drains dnspool.Overrides) admin.OverrideAnswer {
	for _, o := range drains {
		if f.isThere(o.Watcher) {
			return admin.OverrideAnswer{Error: fmt.Sprintf("%s was drained at the server %s: run 'mirrorpool undrain' there", prefix, o.Watcher)}
		}
	}
	for _, o := range drains {
		f.keepElsewhere(o.Watcher, f.elsewhere[o.Watcher].Without(prefix, o.Role))
	}
	f.saving++
	f.putOverrides(f.overrides)
	return admin.OverrideAnswer{OK: true, Overrides: drains}
}

// isThere reports whether another watcher is alive.
func (f *inForce) isThere(watcher string) bool {
	return f.watchers != nil && slices.ContainsFunc(f.watchers.Notes(watch.TopicDrains), func(n watch.NoteOf) bool {
		return n.Watcher == watcher && n.Alive
	})
}

// takeChallenges takes in the TXT records that other servers have to answer challenges with, if the configuration says
// so. f.mu is held.
func (f *inForce) takeChallenges(c *config.Server) {
	if f.watchers == nil {
		return
	}
	others := sharedTXT{}
	notesOn(f, watch.TopicChallenges, func(n *watch.NoteOf, theirs sharedTXT) {
		if c.Watch.Challenges && !n.Only && n.Alive {
			others.add(theirs)
		}
	})
	for name := range others {
		slices.Sort(others[name])
	}
	if !maps.EqualFunc(others, f.othersTXT, slices.Equal) {
		f.othersTXT, f.zoneChanged = others, true
	}
}

// add adds the challenges of one server, as far as they are such, and not too many.
func (s sharedTXT) add(theirs sharedTXT) {
	names := 0
	for _, name := range slices.Sorted(maps.Keys(theirs)) {
		if names++; names > maxSharedNames {
			return
		}
		for _, value := range theirs[name][:min(len(theirs[name]), maxSharedChallenges)] {
			if isChallenge(name, value) && !slices.Contains(s[name], value) {
				s[name] = append(s[name], value)
			}
		}
	}
}

// challengeName and challengeValue are what RFC 8555 section 8.4 has in a challenge's record.
var (
	challengeName  = regexp.MustCompile(`^_acme-challenge(\.[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?)+\.$`)
	challengeValue = regexp.MustCompile(`^[A-Za-z0-9_-]{43}$`)
)

// maxNameLength is that of a name in DNS as text (RFC 1035 section 2.3.4).
const maxNameLength = 254

func isChallenge(name, value string) bool {
	return len(name) <= maxNameLength && challengeName.MatchString(name) && challengeValue.MatchString(value)
}

// challenges are the TXT records for challenges of certificate authorities: this server's, and those of others. f.mu is
// held.
func (f *inForce) challenges() map[string][]string {
	if len(f.othersTXT) == 0 {
		return f.txt
	}
	all := maps.Clone(f.txt)
	if all == nil {
		all = map[string][]string{}
	}
	for name, values := range f.othersTXT {
		all[name] = slices.Compact(slices.Sorted(slices.Values(append(slices.Clone(all[name]), values...))))
	}
	return all
}

// takeSecondReads has files read soon that another watcher has found corrupt. f.mu is held.
func (f *inForce) takeSecondReads() {
	if age := f.now().Sub(f.secondReads); age >= 0 && age < secondReadsEvery {
		return
	}
	f.secondReads = f.now()
	paths := map[string][]string{}
	notesOn(f, watch.TopicCorrupt, func(_ *watch.NoteOf, theirs []corruptCopy) {
		for _, c := range theirs {
			paths[c.Mirror] = append(paths[c.Mirror], c.Path)
		}
	})
	f.verifier.LookAt(paths)
}
