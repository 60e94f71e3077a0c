//go:build !unix

package authority

import (
	"math"
	"syscall"
)

const canReusePort = false

func reusePort(_, _ string, _ syscall.RawConn) error { return nil }

// maxDescriptors is how many descriptors the process may have: no limit is known.
func maxDescriptors() int { return math.MaxInt32 }
