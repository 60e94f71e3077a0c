package listen

import (
	"net"
	"syscall"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// share prepares a socket to share its address.
func share(_, _ string, c syscall.RawConn) error {
	return control(c, func(fd int) error { return unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1) })
}

// giveWay has the kernel choose another socket of those that share l's address, for new clients. mine is how many of them
// are this process'.
//
// The kernel numbers the sockets at an address in the order in which they began to listen, and lets a program, which any of
// them may bring, choose by number. The process that is about to end was there first, so that its sockets have the first
// numbers. If nobody else is there the numbers beyond are no sockets', and the kernel chooses as it does without a program.
func giveWay(l *net.TCPListener, mine int) {
	raw, err := l.SyscallConn()
	if err != nil {
		return
	}
	program, err := bpf.Assemble([]bpf.Instruction{
		bpf.LoadExtension{Num: bpf.ExtRand},
		bpf.ALUOpConstant{Op: bpf.ALUOpMod, Val: uint32(mine)},
		bpf.ALUOpConstant{Op: bpf.ALUOpAdd, Val: uint32(mine)},
		bpf.RetA{},
	})
	if err != nil {
		return
	}
	filters := make([]unix.SockFilter, len(program))
	for i, in := range program {
		filters[i] = unix.SockFilter{Code: in.Op, Jt: in.Jt, Jf: in.Jf, K: in.K}
	}
	// Where the kernel refuses, a client may be dropped that connects in the very moment of closing.
	_ = control(raw, func(fd int) error {
		return unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_REUSEPORT_CBPF, &unix.SockFprog{Len: uint16(len(filters)), Filter: &filters[0]})
	})
}

func control(c syscall.RawConn, do func(fd int) error) error {
	var failed error
	if err := c.Control(func(fd uintptr) { failed = do(int(fd)) }); err != nil {
		return err
	}
	return failed
}
