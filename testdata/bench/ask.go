package main

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/miekg/dns"
	"golang.org/x/sys/unix"

	"mirrorpool/dnspool/listen"
)

const (
	askPause    = time.Millisecond / 2   // between two queries
	answerLimit = 200 * time.Millisecond // for which an answer is awaited
	noAnswer    = time.Second            // counts for a query that gets no answer, or none with an address
)

// An asker is a client that asks one query after the other, in a process of its own: what this process does beside, as
// to answer checks, does not delay it. Its thread gets a CPU as soon as a reader's of a server does, so that what is
// measured is the server.
type asker struct {
	cmd   *exec.Cmd
	stdin io.Closer
	out   *bufio.Reader
}

// startAsker has queries sent to a port of loopback until stop is called. It returns when the first one has been
// answered: what the caller begins then does not end before the client asks.
func startAsker(port int) (*asker, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	a := &asker{cmd: exec.Command(self, "ask", strconv.Itoa(port))}
	a.cmd.Stderr = os.Stderr
	stdin, err := a.cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := a.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	a.stdin, a.out = stdin, bufio.NewReader(out)
	if err := a.cmd.Start(); err != nil {
		return nil, err
	}
	if _, err := a.out.ReadString('\n'); err != nil {
		return nil, fmt.Errorf("the client: %w", errors.Join(err, a.cmd.Wait()))
	}
	return a, nil
}

// stop returns how long each answer took.
func (a *asker) stop() (waits []time.Duration, err error) {
	a.stdin.Close()
	decodeErr := json.NewDecoder(a.out).Decode(&waits)
	if err := errors.Join(decodeErr, a.cmd.Wait()); err != nil {
		return nil, fmt.Errorf("the client: %w", err)
	}
	return waits, nil
}

// ask is the process of an asker: it asks until its standard input ends, and prints a line after the first query, and
// at the end how long each answer took.
func ask(args []string) error {
	if len(args) != 1 {
		return errors.New("want a port")
	}
	port, err := strconv.Atoi(args[0])
	if err != nil {
		return err
	}
	query, err := new(dns.Msg).SetQuestion("dl.example.org.", dns.TypeA).Pack()
	if err != nil {
		return err
	}
	var ended atomic.Bool
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		ended.Store(true)
	}()
	if err := listen.LockReaderThread(); err != nil {
		return err
	}
	waits := []time.Duration{}
	for id := uint16(0); len(waits) == 0 || !ended.Load(); id++ {
		binary.BigEndian.PutUint16(query, id)
		took, err := askOnce(port, query)
		if err != nil {
			return err
		}
		if waits = append(waits, took); len(waits) == 1 {
			fmt.Println("asking")
		}
		pause := unix.NsecToTimespec(int64(askPause))
		_ = unix.Nanosleep(&pause, nil)
	}
	return json.NewEncoder(os.Stdout).Encode(waits)
}

// askOnce sends a query from a port of its own, so that each socket of a server gets its share, and returns how long
// the answer took.
func askOnce(port int, query []byte) (time.Duration, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, err
	}
	defer unix.Close(fd)
	limit := unix.NsecToTimeval(int64(answerLimit))
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &limit); err != nil {
		return 0, err
	}
	if err := unix.Connect(fd, &unix.SockaddrInet4{Port: port, Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		return 0, err
	}
	began := time.Now()
	if _, err := unix.Write(fd, query); err != nil {
		return noAnswer, nil
	}
	var answer [512]byte
	n, err := unix.Read(fd, answer[:])
	took := time.Since(began)
	if err != nil || n < len(query) || binary.BigEndian.Uint16(answer[6:]) == 0 { // the number of records
		return noAnswer, nil
	}
	return took, nil
}
