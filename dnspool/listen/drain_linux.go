package listen

import (
	"net"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// giveWay has the kernel choose another socket of those that share l's address, for new clients. mine is how many of
// them are this process'.
//
// The kernel numbers the sockets at an address in the order in which they began to listen, and lets a program, which
// any of them may bring, choose by number. The process that is about to end was there first, so that its sockets have
// the numbers below mine, and the one with the number mine is another's. It still is when some of ours are closed: the
// kernel fills their places with the last ones. If no other process is there, no socket has the number, and the kernel
// chooses as it does without a program.
func giveWay(l *net.TCPListener, mine int) {
	raw, err := l.SyscallConn()
	if err != nil {
		return
	}
	program, err := bpf.Assemble([]bpf.Instruction{bpf.RetConstant{Val: uint32(mine)}})
	if err != nil {
		return
	}
	filter := unix.SockFilter{Code: program[0].Op, Jt: program[0].Jt, Jf: program[0].Jf, K: program[0].K}
	// Where the kernel refuses, a client may be dropped that connects in the very moment of closing.
	_ = control(raw, func(fd int) error {
		return unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_REUSEPORT_CBPF, &unix.SockFprog{Len: 1, Filter: &filter})
	})
}
