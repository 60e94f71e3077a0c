package admin

import (
	"fmt"
	"time"
)

// Age writes a time span for people, in the one notation of the program: "12s", "5m", "3h05m", "2d". A negative one
// belongs to a time that is still to come: "in 5m".
func Age(d time.Duration) string {
	if d <= -time.Second {
		return "in " + Age(-d)
	}
	switch minutes := int(d / time.Minute); {
	case d < time.Minute:
		return fmt.Sprintf("%ds", max(0, int(d/time.Second)))
	case d < time.Hour:
		return fmt.Sprintf("%dm", minutes)
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh%02dm", minutes/60, minutes%60)
	default:
		return fmt.Sprintf("%dd", minutes/60/24)
	}
}

// Ago says how long before now t was: "3h05m ago", or "in 5m".
func Ago(t, now time.Time) string {
	if age := now.Sub(t); age > -time.Second {
		return Age(age) + " ago"
	}
	return Age(now.Sub(t))
}

// Old says how old what is dated t is: "3h05m old". A date in the future means that a clock is wrong, here or there.
func Old(t, now time.Time) string {
	if age := now.Sub(t); age > -time.Second {
		return Age(age) + " old"
	}
	return "dated " + Age(t.Sub(now)) + " in the future (check the clocks)"
}

// certText says how long a certificate is valid, given the whole days that are left as [health.Verdict.CertDays] has
// them: rounded down, negative once it has expired.
func certText(days int) string {
	switch {
	case days > 1:
		return fmt.Sprintf("%d days left", days)
	case days == 1:
		return "1 day left"
	case days == 0:
		return "less than a day left"
	case days == -1:
		return "expired less than a day ago"
	case days == -2:
		return "expired 1 day ago"
	default:
		return fmt.Sprintf("expired %d days ago", -days-1)
	}
}
