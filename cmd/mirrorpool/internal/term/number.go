package term

import (
	"fmt"
	"math"
	"strconv"
	"time"

	"mirrorpool/dnspool/admin"
)

// None stands in a table for what is not known.
const None = "-"

// Milliseconds is a time for a table: three digits at least.
func Milliseconds(ms float64) string {
	switch {
	case ms == 0:
		return None
	case ms < 99.95:
		return strconv.FormatFloat(ms, 'f', 1, 64)
	default:
		return strconv.FormatFloat(math.Round(ms), 'f', 0, 64)
	}
}

// Since is how long ago t was, for a table.
func Since(t *time.Time, now time.Time) string {
	if t == nil {
		return None
	}
	return admin.Age(now.Sub(*t))
}

// Count is a number of things: "1 mirror", "2 mirrors".
func Count(n int, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return fmt.Sprintf("%d %ss", n, thing)
}
