package health

import "fmt"

// A Cause says whose fault a failure may be besides the mirror's. The zero Cause is the mirror's own: it answered, and
// wrongly.
type Cause uint8

// The causes.
const (
	CauseOwn     Cause = iota
	CauseTrust         // its certificate is signed by no authority that this host trusts
	CauseClock         // its certificate is not valid now
	CauseFuture        // its trace is in the future
	CauseConnect       // no connection could be made
	CauseLocal         // this host could not even try; the mirror has no part in it
)

var causeNames = [...]string{"own", "trust", "clock", "future", "connect", "local"}

// String returns the cause's name in lower case.
func (c Cause) String() string {
	if int(c) < len(causeNames) {
		return causeNames[c]
	}
	return fmt.Sprintf("Cause(%d)", uint8(c))
}

// MarshalText writes a cause by its name.
func (c Cause) MarshalText() ([]byte, error) { return []byte(c.String()), nil }

// UnmarshalText reads a cause's name.
func (c *Cause) UnmarshalText(text []byte) error {
	for i, name := range causeNames {
		if name == string(text) {
			*c = Cause(i)
			return nil
		}
	}
	return fmt.Errorf("unknown cause %q", text)
}
