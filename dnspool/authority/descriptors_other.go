//go:build !unix

package authority

import "math"

// maxDescriptors is how many descriptors the process may have: no limit is known.
func maxDescriptors() int { return math.MaxInt32 }
