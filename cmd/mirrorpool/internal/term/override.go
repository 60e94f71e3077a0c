package term

import (
	"fmt"
	"io"

	"mirrorpool/config"
	"mirrorpool/dnspool/admin"
)

// WriteOverrides writes the overrides that were put in force, or ended; and a warning, if there is one, to errs.
func WriteOverrides(w, errs io.Writer, a *admin.OverrideAnswer, ended bool) {
	for i := range a.Overrides {
		o := &a.Overrides[i]
		text := fmt.Sprintf("%s: %s: %s", o.Mirror, o.Role, o)
		if ended {
			text = fmt.Sprintf("%s: %s: ended: %s", o.Mirror, o.Role, o)
		}
		fmt.Fprintln(w, config.Printable(text))
	}
	if a.Warning != "" {
		fmt.Fprintln(errs, "Warning: "+config.Printable(a.Warning))
	}
}
