package admin

import (
	"testing"
	"time"
)

func TestAge(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 29, 12, 0, 0, 0, time.UTC)
	for _, test := range []struct {
		age            time.Duration
		want, ago, old string
	}{
		{0, "0s", "0s ago", "0s old"},
		{-999 * time.Millisecond, "0s", "0s ago", "0s old"}, // clocks never agree to the millisecond
		{59 * time.Second, "59s", "59s ago", "59s old"},
		{time.Minute, "1m", "1m ago", "1m old"},
		{time.Hour, "1h00m", "1h00m ago", "1h00m old"},
		{47*time.Hour + 59*time.Minute, "47h59m", "47h59m ago", "47h59m old"},
		{48 * time.Hour, "2d", "2d ago", "2d old"},
		{-2 * time.Minute, "in 2m", "in 2m", "dated 2m in the future (check the clocks)"},
		{-25 * time.Hour, "in 25h00m", "in 25h00m", "dated 25h00m in the future (check the clocks)"},
	} {
		then := now.Add(-test.age)
		if got, ago, old := Age(test.age), Ago(then, now), Old(then, now); got != test.want || ago != test.ago || old != test.old {
			t.Errorf("%v: %q, %q, %q; want %q, %q, %q", test.age, got, ago, old, test.want, test.ago, test.old)
		}
	}
}

func TestCertText(t *testing.T) {
	t.Parallel()
	for days, want := range map[int]string{
		30: "30 days left", 1: "1 day left", 0: "less than a day left",
		-1: "expired less than a day ago", -2: "expired 1 day ago", -3: "expired 2 days ago",
	} {
		if got := certText(days); got != want {
			t.Errorf("%d: %q, want %q", days, got, want)
		}
	}
}
