package files

import (
	"context"
	"errors"
	"strings"
	"testing"
)

// TestCompare says what mirrors lack: another size counts, another time where files are rewritten in place, unless the
// mirror keeps no times.
func TestCompare(t *testing.T) {
	t.Parallel()
	type entry struct {
		path    string
		size    int64
		version uint32
	}
	add := func(entries []entry, each func(string, int64, uint32) error) error {
		for _, e := range entries {
			if err := each(e.path, e.size, e.version); err != nil {
				return err
			}
		}
		return nil
	}
	origin := []entry{{"a", 1, 10}, {"b", 2, 20}, {"c", 3, 30}, {"d", 4, 40}, {"news.json", 5, 50}}
	for name, test := range map[string]struct {
		mirror []entry
		want   string
	}{
		"all":      {append([]entry{{"more", 1, 1}}, origin...), "has all 5 files"},
		"nothing":  {nil, "lacks 5 of 5 files, a, b, c among them"},
		"one":      {origin[1:], "lacks 1 of 5 files, a"},
		"size":     {[]entry{origin[0], origin[1], {"c", 1, 30}, origin[3], origin[4]}, "lacks 1 of 5 files, c"},
		"outdated": {[]entry{origin[0], origin[1], origin[2], origin[3], {"news.json", 5, 1}}, "lacks 1 of 5 files, news.json"},
		"no times": {[]entry{{"a", 1, 9}, {"b", 2, 9}, {"c", 3, 9}, origin[3], {"news.json", 5, 1}}, "has all 5 files"},
	} {
		tree := &Tree{}
		if err := add(test.mirror, tree.Add); err != nil {
			t.Fatal(err)
		}
		err := Compare(t.Context(), Patterns{"*.json"}, func(_ context.Context, c *Collector) error {
			c.HasTimes = true
			if err := c.AddFolder("folder"); err != nil {
				return err
			}
			return add(origin, c.Add)
		}, []*Tree{tree})
		comparison := tree.Comparison()
		if got := comparison.String(); err != nil || got != test.want {
			t.Errorf("%s: %s, %v; want %s", name, got, err, test.want)
		}
	}
	sums := &Tree{}
	if err := add(origin[1:], sums.Add); err != nil {
		t.Fatal(err)
	}
	list := strings.Repeat("0", 64) + "  a\n" + strings.Repeat("1", 64) + "  news.json\n"
	err := Compare(t.Context(), Patterns{"*.json"}, func(_ context.Context, c *Collector) error {
		return ReadSums(strings.NewReader(list), c)
	}, []*Tree{sums})
	comparison := sums.Comparison()
	if got := comparison.String(); err != nil || got != "lacks 1 of 2 files, a" {
		t.Errorf("a list of digests: %s, %v", got, err)
	}
	broken := errors.New("unreachable")
	if err := Compare(t.Context(), nil, func(context.Context, *Collector) error { return broken }, nil); !errors.Is(err, broken) {
		t.Errorf("%v", err)
	}
	if err := Compare(t.Context(), nil, func(context.Context, *Collector) error { return nil }, nil); err == nil {
		t.Error("an origin without files is taken for one")
	}
}
