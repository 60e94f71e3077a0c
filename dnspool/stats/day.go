package stats

import (
	"cmp"
	"slices"
	"sync/atomic"
	"time"
)

// MinCountry is how many downloads a country has in a day at least, to be counted by itself.
const MinCountry = 10

// Names of countries that are counted together.
const (
	FewCountries   = "<10" // those with fewer than MinCountry downloads in a day
	UnknownCountry = "unknown"
)

// A Count is a number of downloads, of a path, a mirror, a country or a kind.
type Count struct {
	Name string `json:"name"`
	N    uint64 `json:"n"`
}

// A Day is the counts of one day.
type Day struct {
	Date      string  `json:"date"`  // such as 2026-11-29, UTC
	Kinds     []Count `json:"kinds"` // by Kind
	Paths     []Count `json:"paths"`
	Mirrors   []Count `json:"mirrors"`
	Countries []Count `json:"countries"`
	Open      bool    `json:"open"` // the day goes on: countries with few downloads may get more

	day int
}

// close returns the counts of a day that has ended.
func (t *today) close() Day {
	d := t.snapshot()
	d.Open = false
	return d
}

// snapshot returns the counts as they are, with the countries that have few downloads together.
func (t *today) snapshot() Day {
	d := Day{Date: dateOf(t.day), day: t.day, Open: true}
	for k := range t.kinds {
		d.Kinds = add(d.Kinds, Kind(k).String(), t.kinds[k].Load())
	}
	for i := range t.countries {
		name := UnknownCountry
		if i < countries-1 {
			name = string([]byte{'A' + byte(i/26), 'A' + byte(i%26)})
		}
		d.Countries = add(d.Countries, name, t.countries[i].Load())
	}
	d.Countries = mergeFew(add(d.Countries, FewCountries, t.few.Load()))
	t.mu.RLock()
	for path, n := range t.paths {
		d.Paths = add(d.Paths, path, n.Load())
	}
	for mirror, n := range t.mirrors {
		d.Mirrors = add(d.Mirrors, mirror, n.Load())
	}
	t.mu.RUnlock()
	d.Paths = add(d.Paths, Rest, t.rest.Load())
	sortCounts(d.Paths)
	sortCounts(d.Mirrors)
	return d
}

func add(list []Count, name string, n uint64) []Count {
	if n == 0 {
		return list
	}
	return append(list, Count{name, n})
}

// sortCounts puts the largest first.
func sortCounts(list []Count) {
	slices.SortFunc(list, func(a, b Count) int { return cmp.Or(cmp.Compare(b.N, a.N), cmp.Compare(a.Name, b.Name)) })
}

// mergeFew counts the countries with few downloads together. Those that are not known stay by themselves.
func mergeFew(list []Count) []Count {
	var merged []Count
	few := uint64(0)
	for _, c := range list {
		if c.N < MinCountry && c.Name != UnknownCountry || c.Name == FewCountries {
			few += c.N
			continue
		}
		merged = append(merged, c)
	}
	return add(merged, FewCountries, few)
}

// resume goes on with the counts of a day that was begun before. What was counted together stays so.
func (t *today) resume(d *Day) {
	for _, c := range d.Kinds {
		for k := range Kinds {
			if k.String() == c.Name {
				t.kinds[k].Add(c.N)
			}
		}
	}
	for _, c := range d.Countries {
		if c.Name == FewCountries {
			t.few.Add(c.N)
			continue
		}
		var country Country
		if len(c.Name) == len(country) {
			copy(country[:], c.Name)
		}
		t.countries[country.index()].Add(c.N)
	}
	for _, c := range d.Paths {
		if c.Name == Rest {
			t.rest.Add(c.N)
			continue
		}
		byPath, _ := t.add(c.Name, isFolder(c.Name), "")
		byPath.Add(c.N)
	}
	for _, c := range d.Mirrors {
		n := new(atomic.Uint64)
		n.Store(c.N)
		t.mirrors[c.Name] = n
	}
	delete(t.mirrors, "")
}

// isFolder reports whether the name of a path stands for all files in a folder.
func isFolder(name string) bool { return name[len(name)-1:] == "/" }

func dateOf(day int) string { return time.Unix(int64(day)*86400, 0).UTC().Format(time.DateOnly) }

// sum is how many there are in a list together.
func sum(list []Count) (n uint64) {
	for _, c := range list {
		n += c.N
	}
	return n
}

// keepLargest leaves the n largest paths of a day, and counts the others with the rest.
func (d *Day) keepLargest(n int) {
	if len(d.Paths) <= n {
		return
	}
	sortCounts(d.Paths)
	rest := uint64(0)
	kept := make([]Count, 0, n+1)
	for _, c := range d.Paths {
		if len(kept) < n && c.Name != Rest {
			kept = append(kept, c)
		} else {
			rest += c.N
		}
	}
	d.Paths = add(kept, Rest, rest)
	sortCounts(d.Paths)
}
