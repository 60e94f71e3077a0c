//go:build unix

package listen

import (
	"math"

	"golang.org/x/sys/unix"
)

// MaxDescriptors is how many descriptors the process may have.
func MaxDescriptors() int {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return math.MaxInt
	}
	return int(min(limit.Cur, math.MaxInt32))
}
