//go:build !unix

package listen

import "math"

// MaxDescriptors is how many descriptors the process may have: no limit is known.
func MaxDescriptors() int { return math.MaxInt32 }
