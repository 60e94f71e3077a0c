package health

import (
	"io"

	json "github.com/go-json-experiment/json/v1" // as encoding/json, and faster

	"mirrorpool/config/statefile"
)

// The formats of what survives a restart.
var (
	stateFormat   = statefile.Format{Kind: "mirrorpool-verdicts", Version: 1, Limit: 256 << 20}
	historyFormat = statefile.Format{Kind: "mirrorpool-history", Version: 1, Limit: 64 << 20}
)

// writeSealed writes value as JSON in a format.
func writeSealed(w io.Writer, format statefile.Format, value any) error {
	body, err := json.Marshal(value)
	if err != nil {
		return err
	}
	return format.Seal(w, body)
}

// readSealed reads into value what writeSealed has written.
func readSealed(r io.Reader, format statefile.Format, value any) error {
	body, err := format.Unseal(r)
	if err != nil {
		return err
	}
	return json.Unmarshal(body, value)
}
