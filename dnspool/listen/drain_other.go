//go:build !linux

package listen

import "net"

// giveWay does nothing: other kernels have no such setting.
func giveWay(*net.TCPListener, int) {}
