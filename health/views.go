package health

import "strings"

// A View is what one watcher says of an endpoint. See package watch.
type View struct {
	Watcher string `json:"watcher"`
	State   State  `json:"state"` // Unknown if it abstains
	Reason  string `json:"reason,omitempty"`
}

// ViewsText says what the watchers see, as "down from ams, fra; up from nyc". Watchers that abstain are left out.
func ViewsText(views []View) string {
	var parts []string
	for _, state := range [...]State{Down, Stale, Up} {
		var names []string
		for i := range views {
			if views[i].State == state {
				names = append(names, views[i].Watcher)
			}
		}
		if len(names) > 0 {
			parts = append(parts, state.String()+" from "+strings.Join(names, ", "))
		}
	}
	return strings.Join(parts, "; ")
}
