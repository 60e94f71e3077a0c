package admin

import (
	"fmt"
	"net/url"
	"slices"
	"strings"

	"mirrorpool/health"
)

// A condition is how a mirror as a whole is doing: its state, told apart further for the page.
type condition int

// The conditions, those first that need attention.
const (
	isDown condition = iota
	isStale
	isPartly // up, but not at all addresses in all roles
	isUnknown
	isUp
	isDrained // in all roles in which it would serve
	isDisabled
)

var conditions = [...]condition{isDown, isStale, isPartly, isUnknown, isUp, isDrained, isDisabled}

// conditionNames are what filters take and people read, with the classes that colours and shapes go by.
var conditionNames = [...]struct{ name, class string }{
	isDown: {"down", "d"}, isStale: {"stale", "s"}, isPartly: {"partly", "p"},
	isUnknown: {"unknown", "q"}, isUp: {"up", "u"}, isDrained: {"drained", "o"}, isDisabled: {"disabled", "o"},
}

func (c condition) name() string  { return conditionNames[c].name }
func (c condition) class() string { return conditionNames[c].class }

// stateConditions are the conditions of single endpoints, which are never partly up.
var stateConditions = map[health.State]condition{
	health.Down: isDown, health.Stale: isStale, health.Unknown: isUnknown, health.Up: isUp,
}

func conditionOf(m *MirrorStatus) condition {
	c := stateConditions[m.State]
	switch {
	case m.Weight == 0:
		return isDisabled
	case len(m.Eligible) == 0 && m.drained():
		return isDrained
	case c == isUp && m.Works != WorksFully:
		return isPartly
	default:
		return c
	}
}

// A stateFilter says which conditions the page shows; nil: all.
type stateFilter []condition

// readStateFilter reads the values of the query's "state": names of conditions, with commas between several.
func readStateFilter(query url.Values) (f stateFilter, err error) {
	for name := range strings.SplitSeq(strings.Join(query["state"], ","), ",") {
		if name == "" {
			continue
		}
		i := slices.IndexFunc(conditions[:], func(c condition) bool { return c.name() == name })
		if i < 0 {
			return nil, fmt.Errorf("no mirror has the state %q: use down, stale, partly, unknown, up, drained or disabled", name)
		}
		f = append(f, conditions[i])
	}
	return f, nil
}

func (f stateFilter) shows(c condition) bool { return f == nil || slices.Contains(f, c) }
