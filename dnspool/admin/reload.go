package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"mirrorpool/config"
	"mirrorpool/config/source"
)

const (
	reloadTime     = 2 * time.Minute // a source may be slow to answer
	maxRequestBody = 4 << 10
)

// A ReloadAnswer is the response of /api/v1/reload.
type ReloadAnswer struct {
	OK       bool           `json:"ok"`      // nothing was refused or held back
	DryRun   bool           `json:"dry_run"` // nothing has changed: this is what a reload would do
	Pool     PoolReload     `json:"pool"`
	Settings SettingsReload `json:"settings"`
}

// A PoolReload is the result of reading the list of mirrors again.
type PoolReload struct {
	Applied  bool             `json:"applied"`  // a changed pool is in force now
	Error    string           `json:"error"`    // why the new list, or a source without one, was not accepted; or ""
	Held     *config.Decision `json:"held"`     // why the update waits for confirmation, or null
	Change   *config.Change   `json:"change"`   // what the list changes, or null if nothing
	Warnings []string         `json:"warnings"` // of the new list, one for each kind
	Latest   *source.Update   `json:"latest"`   // applied without a request since the reload before, or null
}

// ReloadOptions say what a reload may do.
type ReloadOptions struct {
	Confirm bool // accept an update that the guard holds back, and keys or signing that end too early
	DryRun  bool // put nothing in force
}

// A SettingsReload is the result of reading the configuration again.
type SettingsReload struct {
	Applied []string `json:"applied"`         // keys whose new values are in force now
	Restart []string `json:"restart"`         // keys whose new values need a restart
	Notes   []string `json:"notes,omitempty"` // when and how new values take effect, where that is not at once
	Error   string   `json:"error"`           // why the old configuration stays in force, or ""
}

// reload handles POST /api/v1/reload. Its options are in the query or in a JSON object.
func reload(b Backend) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		options, err := reloadOptions(w, r)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		// The reload continues if the client hangs up, so that none is left half done.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), reloadTime)
		defer cancel()
		_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(reloadTime + requestTime))
		answer := b.Reload(ctx, options)
		status := http.StatusOK
		if !answer.OK {
			status = http.StatusConflict
		}
		writeJSONStatus(w, status, answer)
	}
}

// reloadOptions reads the options of a reload.
func reloadOptions(w http.ResponseWriter, r *http.Request) (ReloadOptions, error) {
	var body struct {
		Confirm bool `json:"confirm"`
		DryRun  bool `json:"dry_run"`
	}
	decoder := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxRequestBody))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&body); err != nil && !errors.Is(err, io.EOF) {
		return ReloadOptions{}, errors.New(`want no body, or {"confirm": true, "dry_run": true}`)
	}
	o := ReloadOptions{Confirm: body.Confirm, DryRun: body.DryRun}
	for key, option := range map[string]*bool{"confirm": &o.Confirm, "dry_run": &o.DryRun} {
		switch r.URL.Query().Get(key) {
		case "", "false", "0":
		case "true", "1":
			*option = true
		default:
			return ReloadOptions{}, fmt.Errorf("want %s=true or %[1]s=false", key)
		}
	}
	return o, nil
}
