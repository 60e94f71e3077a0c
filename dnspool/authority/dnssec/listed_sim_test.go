package dnssec

import (
	"cmp"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"mirrorpool/testdata/testbed"
)

// A listedWorld is a zone whose administrator edits the list of keys and their times at random, with a parent whose DS
// records follow the keys, and caches. Times are in hours.
type listedWorld struct {
	*listedKeys
	r       *rand.Rand
	now     int
	times   map[string]string
	list    []string
	keys    *Keys
	ds      []string
	seen    Seen
	parents [][]string // what the parent had each hour
	served  []servedKeys
	history []string
}

// servedKeys are the names of the keys in the DNSKEY records of an hour, and of those that signed.
type servedKeys struct{ published, signKeys, signZone []string }

const (
	heldHours = 4  // for which caches have records of the zone
	dsHours   = 24 // for which they have DS records
	simHours  = 150
)

func (w *listedWorld) note(format string, args ...any) {
	w.history = append(w.history, fmt.Sprintf("%d: ", w.now)+fmt.Sprintf(format, args...))
}

// read reads the keys of a list as a reload does.
func (w *listedWorld) read(list []string) (*Keys, error) {
	files := make([]string, len(list))
	for i, name := range list {
		files[i] = w.files[name]
	}
	k, err := Read(testConfig(files...), "", w.at(w.now))
	if err != nil || w.keys == nil {
		return k, err
	}
	k = k.Follow(w.keys, w.at(w.now))
	const held = heldHours * time.Hour
	return k, cmp.Or(k.CheckReplaced(&w.seen, held, w.at(w.now)), k.CheckRemovals(&w.seen, held, w.at(w.now)))
}

// edit changes the list and the times of a key or two, none into the past, and takes that back if it is refused.
func (w *listedWorld) edit() {
	list, times := slices.Clone(w.list), maps.Clone(w.times)
	all := slices.Sorted(maps.Keys(w.files))
	for range 1 + w.r.IntN(2) {
		name := all[w.r.IntN(len(all))]
		switch i := slices.Index(list, name); {
		case i < 0 && w.r.IntN(2) == 0:
			list = append(list, name)
		case i >= 0 && w.r.IntN(3) == 0 && len(list) > 1:
			list = slices.Delete(list, i, i+1)
		}
		begin, _, _ := strings.Cut(times[name], ", Inactive")
		if begin, _, _ = strings.Cut(begin, ", Delete"); begin == "" || !slices.Contains(w.list, name) && w.r.IntN(2) == 0 {
			publish := w.now + w.r.IntN(2)*w.r.IntN(55)
			begin = fmt.Sprintf("Publish %d, Activate %d", publish, max(w.now, publish+w.r.IntN(30)-5))
		}
		inactive := w.now + w.r.IntN(55)
		end := []string{"", "", fmt.Sprintf(", Inactive %d", inactive), fmt.Sprintf(", Delete %d", inactive),
			fmt.Sprintf(", Inactive %d, Delete %d", inactive, inactive+w.r.IntN(40))}
		times[name] = begin + end[w.r.IntN(len(end))]
		w.set(name, times[name])
	}
	k, err := w.read(list)
	if err != nil {
		for name := range w.files {
			w.set(name, w.times[name])
		}
		return
	}
	w.keys, w.list, w.times = k, list, times
	for _, name := range list {
		w.note("%s %s", name, times[name])
	}
}

// follow has the parent have DS records of some of the keys that have signed the DNSKEY records for hours, and are to
// stay; and looks at it.
func (w *listedWorld) follow() {
	if n := len(w.served); n > 2 && w.r.IntN(8) == 0 {
		next := slices.DeleteFunc(slices.Clone(w.list), func(name string) bool {
			return strings.Contains(w.times[name], "Inactive") || strings.Contains(w.times[name], "Delete") || w.r.IntN(2) == 0 ||
				slices.ContainsFunc(w.served[n-3:], func(s servedKeys) bool { return !slices.Contains(s.signKeys, name) })
		})
		if len(next) > 0 {
			w.ds = next
			w.note("the parent has DS records of %v", next)
		}
	}
	w.parents = append(w.parents, w.ds)
	view := &View{TTL: dsHours * time.Hour, At: w.at(w.now)}
	for _, name := range w.ds {
		view.DS = append(view.DS, w.listedKeys.ds[name])
	}
	w.seen = w.seen.With(view)
}

// serve makes the zone. ok is false if it cannot be signed any more, which is said days before.
func (w *listedWorld) serve() (ok bool) {
	r, err := w.keys.at(w.at(w.now))
	if err != nil {
		return false
	}
	names := func(keys []*Key) (names []string) {
		for _, key := range keys {
			for name, file := range w.files {
				if strings.HasSuffix(file, fmt.Sprintf("+%03d+%05d", key.Record.Algorithm, key.Tag)) {
					names = append(names, name)
				}
			}
		}
		return names
	}
	w.served = append(w.served, servedKeys{names(r.published), names(r.signKeys), names(r.signZone)})
	return true
}

// check validates all that caches may have by now with each other, as a strict validator does: by each algorithm of a
// DS record there has to be a signature of the keys, and by each algorithm of a key one of all else.
func (w *listedWorld) check() error {
	algorithm := func(name string) bool { return name[0] == 'C' || name[0] == 'E' }
	allSign := func(of, signers []string) bool {
		return !slices.ContainsFunc(of, func(name string) bool {
			return !slices.ContainsFunc(signers, func(signer string) bool { return algorithm(signer) == algorithm(name) })
		})
	}
	contains := func(list []string) func(string) bool {
		return func(name string) bool { return slices.Contains(list, name) }
	}
	last := w.served[len(w.served)-1]
	for _, ds := range w.parents[max(0, len(w.parents)-dsHours-1):] {
		if !slices.ContainsFunc(ds, contains(last.signKeys)) || !allSign(ds, last.signKeys) {
			return fmt.Errorf("DS records of %v and the keys %v", ds, last)
		}
	}
	for _, answer := range w.served[max(0, len(w.served)-heldHours):] {
		if !slices.ContainsFunc(answer.signZone, contains(last.published)) || !allSign(last.published, answer.signZone) {
			return fmt.Errorf("an answer with the keys %v, and now the keys %v", answer, last)
		}
	}
	if n := len(w.served); n > 1 {
		if keys := w.served[n-2]; !slices.ContainsFunc(last.signZone, contains(keys.published)) || !allSign(keys.published, last.signZone) {
			return fmt.Errorf("the keys %v of an hour ago, and an answer with %v", keys, last)
		}
	}
	return nil
}

// TestRandomListsKeepTheChain edits lists of keys and their times at random. Whatever is not refused leaves the zone
// good in all caches.
func TestRandomListsKeepTheChain(t *testing.T) {
	t.Parallel()
	l := newListedKeys(t, "K1", "K2", "Z1", "Z2", "C1", "E1")
	worlds := uint64(30)
	if testbed.Long() {
		worlds = 800
	}
	for seed := range worlds {
		w := &listedWorld{listedKeys: l, r: rand.New(rand.NewPCG(seed, 22)), times: map[string]string{}, list: []string{"K1", "Z1"}[:1+seed%2],
			ds: []string{"K1"}}
		for name := range l.files {
			l.set(name, "")
		}
		w.times["K1"], w.times["Z1"] = "Publish -500, Activate -500", "Publish -500, Activate -500"
		w.seen = w.seen.With(&View{TTL: dsHours * time.Hour, At: l.at(-500), DS: []*dns.DS{l.ds["K1"]}})
		var err error
		if w.keys, err = w.read(w.list); err != nil {
			t.Fatal(err)
		}
		for ; w.now < simHours; w.now++ {
			w.follow()
			if w.r.IntN(3) == 0 {
				w.edit()
			}
			if !w.serve() {
				break
			}
			if err := w.check(); err != nil {
				t.Fatalf("seed %d, after %d hours: %v\n%s", seed, w.now, err, strings.Join(w.history, "\n"))
			}
		}
	}
}
