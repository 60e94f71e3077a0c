package files

import (
	"strings"
	"sync"
	"time"
)

// maxDemand bounds the folders that are listed together. Of more, those that clients have asked for last count.
const maxDemand = 100

// demandFor is for how long a folder is listed after a client has asked for a file in it.
const demandFor = time.Hour

// A demand is the folders of which clients have asked for files that not all mirrors are known to carry.
type demand struct {
	mu    sync.Mutex
	asked map[string]*time.Time // when a client asked last, by folder
	last  time.Time
}

// note takes in that a client has asked for a file.
func (d *demand) note(path string, now time.Time) {
	folder := path[:max(strings.LastIndexByte(path, '/'), 0)]
	d.mu.Lock()
	defer d.mu.Unlock()
	d.last = now
	if at := d.asked[folder]; at != nil {
		*at = now
		return
	}
	d.makeRoom()
	if d.asked == nil {
		d.asked = map[string]*time.Time{}
	}
	d.asked[strings.Clone(folder)] = &now
}

// makeRoom forgets the folder that no client has asked for longest, if there are as many as may be.
func (d *demand) makeRoom() {
	if len(d.asked) < maxDemand {
		return
	}
	oldest, found := "", false
	for folder, at := range d.asked {
		if !found || at.Before(*d.asked[oldest]) {
			oldest, found = folder, true
		}
	}
	delete(d.asked, oldest)
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
