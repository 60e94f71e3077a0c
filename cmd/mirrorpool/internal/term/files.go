package term

import (
	"fmt"
	"io"
	"strings"

	"mirrorpool/config"
	"mirrorpool/health/files"
)

// WriteLacks writes the files that a mirror lacks, for people.
func WriteLacks(w io.Writer, lacks *files.MirrorLacks) error {
	var text strings.Builder
	for _, f := range lacks.Files {
		fmt.Fprintf(&text, "%-10s  %s\n", f.State, config.Printable(f.Path))
	}
	switch more := lacks.Count - len(lacks.Files); {
	case lacks.Count == 0 && lacks.Problem == "":
		fmt.Fprintf(&text, "%s lacks nothing.\n", config.Printable(lacks.URLPrefix))
	case more > 0:
		fmt.Fprintf(&text, "And %d more.\n", more)
	}
	_, err := io.WriteString(w, text.String())
	return err
}

// Spread says how many mirrors carry each of some files.
func Spread(list []files.FileStatus) string {
	var text strings.Builder
	for i := range list {
		f := &list[i]
		mirrors, weight := files.Complete(list[i : i+1])
		note := ""
		if !f.Published {
			note = "; not known to be published"
		}
		fmt.Fprintf(&text, "%s: %s, %.0f %% of the weight%s\n", config.Printable(f.Path), Count(mirrors, "mirror"), 100*weight, note)
	}
	return text.String()
}
