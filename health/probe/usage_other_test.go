//go:build !linux

package probe

import (
	"testing"
	"time"
)

// The load run measures itself on Linux only.

func cpuTime(*testing.T) time.Duration { return 0 }
func residentMB(*testing.T) int64      { return 0 }
