package source

import (
	"time"

	"mirrorpool/config"
)

// A Status is where the pool in force comes from, and how the latest look went.
type Status struct {
	Source    string
	Loaded    time.Time // when the list in force was accepted, by an earlier run of the program if Kept
	Checked   time.Time // when its source was last seen to hold it; zero if never by this run
	Kept      bool      // it is the one on disk, and its source has not been seen to hold it
	Error     string    // why the latest look came to nothing, or ""
	KeepError string    // why the list in force could not be saved, or ""
	Held      *Held     // an update that waits for confirmation, or nil
	Digest    string    // SHA-256 of the list in force, in hex
}

// A Held is an update that the guard holds back until it is confirmed.
type Held struct {
	Since time.Time `json:"since"`
	config.Decision
	Change config.Change `json:"change"`
	Digest string        `json:"-"` // SHA-256 of the list that is held back, in hex
}

// A Result is what came of a look.
type Result struct {
	Applied  bool            // the pool in force is another one now
	Change   config.Change   // between the pool before and the one that was read
	Warnings []*config.Error // of the list, if it is new
	Held     *config.Decision
	Err      error   // why the pool in force stays, although its source has another list or none
	Latest   *Update // that Run has put in force since the Reload before, or nil
}

// An Update is a change of the pool that came into force.
type Update struct {
	At     time.Time     `json:"at"`
	Change config.Change `json:"change"`
}
