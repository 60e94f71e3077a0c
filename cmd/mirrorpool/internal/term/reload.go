package term

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"mirrorpool/config"
	"mirrorpool/dnspool/admin"
)

// latestTime is how long an update that the server applied unasked is printed by the next reload.
const latestTime = 10 * time.Minute

// WriteReload prints what came of a reload, and to stderr why something was refused.
func WriteReload(stdout, stderr io.Writer, a *admin.ReloadAnswer, now time.Time) {
	for _, w := range a.Pool.Warnings {
		fmt.Fprintf(stderr, "warning: %s\n", config.Printable(w))
	}
	for _, e := range []string{a.Settings.Error, a.Pool.Error} {
		if e != "" {
			WriteError(stderr, errors.New(e))
		}
	}
	printKeys(stdout, a.Settings.Applied, verb("changed", "would change", a.DryRun))
	printKeys(stdout, a.Settings.Restart, "changed, which needs a restart")
	for _, note := range a.Settings.Notes {
		fmt.Fprintln(stdout, "note:", config.Printable(note))
	}
	recent := a.Pool.Latest != nil && now.Sub(a.Pool.Latest.At) < latestTime
	switch {
	case a.Pool.Change != nil && a.Pool.Error != "":
		printChange(stdout, "pool: unchanged; held back:", a.Pool.Change)
	case a.Pool.Change != nil:
		printChange(stdout, "pool: "+verb("changed:", "would change:", a.DryRun), a.Pool.Change)
	case a.Pool.Error != "":
		fmt.Fprintln(stdout, "pool: unchanged")
	case recent:
		printChange(stdout, fmt.Sprintf("pool: already up to date; the server applied this update %s:", admin.Ago(a.Pool.Latest.At, now)),
			&a.Pool.Latest.Change)
	default:
		fmt.Fprintln(stdout, "pool: nothing new")
	}
}

// verb is what happened, or with dryRun what would.
func verb(happened, would string, dryRun bool) string {
	if dryRun {
		return would
	}
	return happened
}

func printKeys(w io.Writer, keys []string, what string) {
	if len(keys) > 0 {
		fmt.Fprintf(w, "configuration: %s %s\n", config.Printable(strings.Join(keys, ", ")), what)
	}
}

func printChange(w io.Writer, title string, change *config.Change) {
	fmt.Fprintln(w, title)
	for _, line := range change.Lines() {
		fmt.Fprintf(w, "  %s\n", config.Printable(line))
	}
}
