package probe

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"mirrorpool/health"
)

// maxFuture is how far ahead of our clock a trace may be.
const maxFuture = 5 * time.Minute

// A futureError is why a trace is refused: it is so far ahead of this host's clock.
type futureError time.Duration

// Error says how far.
func (e futureError) Error() string {
	return fmt.Sprintf("the trace file is %v ahead of our clock", time.Duration(e).Round(time.Second))
}

// parseTrace reads a trace file: the second since 1970 at which the mirror's content was published, in
// decimal digits, and nothing else but white space around them.
func parseTrace(body []byte) (time.Time, error) {
	text := strings.TrimSpace(string(body))
	second, err := strconv.ParseUint(text, 10, 63)
	if err != nil || second == 0 || second > math.MaxInt32*16 {
		return time.Time{}, fmt.Errorf("%q, want an epoch second", shorten(text, 40))
	}
	return time.Unix(int64(second), 0).UTC(), nil
}

// readTrace parses a trace file and refuses one from the future, which proves nothing about the content.
func readTrace(body []byte, now time.Time) (time.Time, error) {
	trace, err := parseTrace(body)
	if err != nil {
		return time.Time{}, &stepError{health.StepBody, err}
	}
	if ahead := trace.Sub(now); ahead > maxFuture {
		return time.Time{}, &stepError{health.StepFreshness, futureError(ahead)}
	}
	return trace, nil
}
