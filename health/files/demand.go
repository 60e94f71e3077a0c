package files

import (
	"maps"
	"strings"
	"sync"
	"time"
)

const (
	// maxDemand bounds the folders that are listed together. While there are as many, no other is noted.
	maxDemand = 100
	// demandFor is for how long a folder is listed after a client has asked for a file in it.
	demandFor = time.Hour
	// Where there are many, it counts less long, and that is looked after once a second.
	demandForMany, demandPause = time.Minute, time.Second
)

// A demand is the folders of which clients have asked for files that not all mirrors are known to carry.
type demand struct {
	mu    sync.Mutex
	asked map[string]*time.Time // when a client asked last, by folder
	last  time.Time
	swept time.Time // when folders were forgotten last
}

// note takes in that a client has asked for a file. It must not keep the client waiting, and may pass over some.
func (d *demand) note(path string, now time.Time) {
	if !d.mu.TryLock() {
		return
	}
	defer d.mu.Unlock()
	folder := path[:max(strings.LastIndexByte(path, '/'), 0)]
	d.last = now
	if at := d.asked[folder]; at != nil {
		*at = now
		return
	}
	if d.hasRoom(now) {
		noted := now
		d.asked[strings.Clone(folder)] = &noted
	}
}

// hasRoom reports whether there is room for another folder. It forgets those that no client has asked for of late.
func (d *demand) hasRoom(now time.Time) bool {
	if d.asked == nil {
		d.asked = map[string]*time.Time{}
	}
	if len(d.asked) >= maxDemand && now.Sub(d.swept) >= demandPause {
		d.swept = now
		maps.DeleteFunc(d.asked, func(_ string, at *time.Time) bool { return now.Sub(*at) > demandForMany })
	}
	return len(d.asked) < maxDemand
}

// isLaterThan reports whether a client has asked since a time.
func (d *demand) isLaterThan(t time.Time) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.last.After(t)
}

// folders returns the folders that clients have asked for of late.
func (d *demand) folders(now time.Time) []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	folders := make([]string, 0, len(d.asked))
	for folder, at := range d.asked {
		if now.Sub(*at) < demandFor {
			folders = append(folders, folder)
		}
	}
	return folders
}
