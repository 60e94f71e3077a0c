package term

import (
	"fmt"
	"io"
	"strings"

	"mirrorpool/config"
)

// WriteError prints err with a prefix on each line, so that no text in it can pass for a line of something else.
func WriteError(w io.Writer, err error) {
	for line := range strings.SplitSeq(err.Error(), "\n") {
		fmt.Fprintf(w, "mirrorpool: %s\n", config.Printable(line))
	}
}
