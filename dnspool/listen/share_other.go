//go:build !unix

package listen

import "syscall"

// CanShare says whether several sockets can share an address, the kernel spreading the load.
const CanShare = false

func share(_, _ string, _ syscall.RawConn) error { return nil }
