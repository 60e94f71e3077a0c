package daemon

import (
	"encoding/json"
	"maps"
	"regexp"
	"slices"
	"time"

	"go.uber.org/zap"

	"mirrorpool/config"
	"mirrorpool/dnspool"
	"mirrorpool/dnspool/admin"
	"mirrorpool/health/watch"
)

// What is shared is bounded, so that each note stays within the limit of its length.
const (
	maxSharedDrains     = 100
	maxSharedChallenges = 16 // names, and values of one
	maxSharedCorrupt    = 100
)

// shareTime is how long other servers are given to hear of a change and to answer by it.
const shareTime = 3 * time.Second

// A sharedTXT is the TXT records for challenges of certificate authorities, by owner.
type sharedTXT map[string][]string

// A sharedCorrupt is paths of corrupt files, by the url_prefix of the mirror.
type sharedCorrupt map[string][]string

// share tells other watchers what this server knows beside its verdicts. f.mu is held.
func (f *inForce) share() {
	if f.watchers == nil {
		return
	}
	drains, _ := f.overrides.Split(f.now())
	for topic, value := range map[watch.Topic]any{
		watch.TopicDrains:     drains.Drains(maxSharedDrains),
		watch.TopicList:       f.sharedList(),
		watch.TopicChallenges: sharedTXT(f.txt),
		watch.TopicCorrupt:    f.corruptCopies(),
	} {
		if err := f.watchers.SetNote(topic, value); err != nil {
			f.log.Warn("cannot share all with other watchers", zap.Error(err))
		}
	}
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

// corruptCopies are the corrupt files that this server has found, or some of them.
func (f *inForce) corruptCopies() sharedCorrupt {
	shared, count := sharedCorrupt{}, 0
	found := f.verifier.Corrupt()
	for _, prefix := range slices.Sorted(maps.Keys(found)) {
		if room := maxSharedCorrupt - count; room > 0 {
			shared[prefix] = found[prefix][:min(len(found[prefix]), room)]
			count += len(shared[prefix])
		}
	}
	return shared
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

// withDrainsElsewhere returns this server's overrides, and with them the drains that were set at other servers. left
// says how many drains of which server are left out. f.mu is held.
func (f *inForce) withDrainsElsewhere(own dnspool.Overrides) (list dnspool.Overrides, left map[string]int) {
	list, left = own, map[string]int{}
	notesOn(f, watch.TopicDrains, func(n *watch.NoteOf, theirs []dnspool.Override) {
		var over int
		list, over = list.WithDrainsOf(n.Watcher, theirs, f.pool, f.config.Load().MirrorsGuard, f.now())
		if over > 0 {
			left[n.Watcher] = over
		}
	})
	return list, left
}

// takeChallenges takes in the TXT records that other servers have to answer challenges with, if the configuration says
// so. f.mu is held.
func (f *inForce) takeChallenges(c *config.Server) {
	if f.watchers == nil {
		return
	}
	others := sharedTXT{}
	notesOn(f, watch.TopicChallenges, func(n *watch.NoteOf, theirs sharedTXT) {
		if !c.Watch.Challenges || n.Only || !n.Alive {
			return
		}
		for name, values := range theirs {
			for _, value := range values {
				if isChallenge(name, value) && len(others[name]) < maxSharedChallenges &&
					(others[name] != nil || len(others) < maxSharedChallenges) && !slices.Contains(others[name], value) {
					others[name] = append(others[name], value)
				}
			}
		}
	})
	for name := range others {
		slices.Sort(others[name])
	}
	if !maps.EqualFunc(others, f.othersTXT, slices.Equal) {
		f.othersTXT, f.zoneChanged = others, true
	}
}

// challengeName and challengeValue are what RFC 8555 section 8.4 has in a challenge's record.
var (
	challengeName  = regexp.MustCompile(`^_acme-challenge\.[a-z0-9._-]{1,230}$`)
	challengeValue = regexp.MustCompile(`^[A-Za-z0-9_-]{43}$`)
)

func isChallenge(name, value string) bool {
	return challengeName.MatchString(name) && challengeValue.MatchString(value)
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

// takeSecondReads has files read soon that another watcher has found corrupt.
func (f *inForce) takeSecondReads() {
	paths := map[string][]string{}
	notesOn(f, watch.TopicCorrupt, func(_ *watch.NoteOf, theirs sharedCorrupt) {
		count := 0
		for prefix, list := range theirs {
			for _, path := range list {
				if count++; count <= maxSharedCorrupt {
					paths[prefix] = append(paths[prefix], path)
				}
			}
		}
	})
	f.verifier.LookAt(paths)
}
