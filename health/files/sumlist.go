package files

import (
	"errors"
	"fmt"
	"io"
	"strconv"

	"mirrorpool/health/files/checksums"
)

// ReadSums adds the files of a list in the format of sha256sum(1), as [checksums.ReadLines] reads it. The version of a
// file is the beginning of its digest.
func ReadSums(r io.Reader, c *Collector) error {
	err := checksums.ReadLines(r, func(digest, path string) error {
		version, err := strconv.ParseUint(digest[:8], 16, 32)
		if err != nil {
			return err
		}
		var known *checksums.Sum
		if sum, ok := checksums.ParseSum(digest); ok {
			known = &sum
		}
		return c.addFile(path, unknownSize, uint32(version), known)
	})
	if errors.Is(err, checksums.ErrLine) {
		return fmt.Errorf("%w: %w", ErrListing, err)
	}
	return err
}
