package health

import (
	"encoding"
	"fmt"
	"time"
)

// A Role is what an endpoint is judged for.
type Role uint8

// The roles. They are judged separately: an endpoint may be fit for one and not for the other.
const (
	HTTP  Role = iota // the mirror's own URL works over the address
	DNS               // the address serves the pool's own host name
	Rsync             // the mirror's rsync daemon works
)

var roleNames = [...]string{"http", "dns", "rsync"}

// String returns the role's name in lower case.
func (r Role) String() string {
	if int(r) < len(roleNames) {
		return roleNames[r]
	}
	return fmt.Sprintf("Role(%d)", uint8(r))
}

// MarshalText writes a role by its name.
func (r Role) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

// UnmarshalText reads a role's name.
func (r *Role) UnmarshalText(text []byte) error {
	for i, name := range roleNames {
		if name == string(text) {
			*r = Role(i)
			return nil
		}
	}
	return fmt.Errorf("unknown role %q", text)
}

// A State is the outcome of the checks of an endpoint. The zero State is Unknown.
type State uint8

// The states. Disabled is not one of them: it is weight 0.
const (
	Unknown State = iota // not checked yet, too long ago, or without a conclusive result
	Up                   // fit to serve
	Stale                // reachable, with content that is too old
	Down                 // not fit to serve
)

var stateNames = [...]string{"unknown", "up", "stale", "down"}

// String returns the state's name in lower case.
func (s State) String() string {
	if int(s) < len(stateNames) {
		return stateNames[s]
	}
	return fmt.Sprintf("State(%d)", uint8(s))
}

// MarshalText writes a state by its name.
func (s State) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText reads a state's name.
func (s *State) UnmarshalText(text []byte) error {
	for i, name := range stateNames {
		if name == string(text) {
			*s = State(i)
			return nil
		}
	}
	return fmt.Errorf("unknown state %q", text)
}

var (
	_ encoding.TextMarshaler   = Up
	_ encoding.TextUnmarshaler = (*State)(nil)
)

// A Policy says how observations become states. See config.Health for the meaning of each.
type Policy struct {
	Interval time.Duration
	Timeout  time.Duration // of one probe
	Rise     int
	Fall     int
	// Lossy says that most mirrors fail now and then: that is this host's way to them, and no endpoint's Rate counts.
	Lossy bool
}
