package term

import (
	"bytes"
	"encoding/json"
	"io"

	"mirrorpool/config"
)

// WriteJSON writes v as an indented document, with nothing in it that a terminal would obey.
func WriteJSON(w io.Writer, v any) error {
	var text bytes.Buffer
	encoder := json.NewEncoder(&text)
	encoder.SetIndent("", "  ")
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(v); err != nil {
		return err
	}
	_, err := io.WriteString(w, config.PrintableLines(text.String()))
	return err
}
