package main

import (
	"strconv"

	"golang.org/x/sys/unix"
)

// monotonic is the kernel's monotonic clock, in microseconds, by which a service manager orders what it is told.
func monotonic() string {
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err != nil {
		return "0"
	}
	return strconv.FormatInt(now.Nano()/1000, 10)
}
