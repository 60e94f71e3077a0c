package main

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/miekg/dns"
)

const (
	startTime = 20 * time.Second // that a server may take to its first answer
	tickRate  = 100              // of the clock in /proc/PID/stat; Linux has it so for all programs
)

// A process is a running server with its children, in a session of its own.
type process struct {
	cmd  *exec.Cmd
	file string // of its output
	done chan struct{}
}

// start runs a command in dir, pinned to the first CPU.
func start(command []string, dir string) (*process, error) { return startOn("0", 1, command, dir) }

// startOn runs a command in dir, on some CPUs; if it is in Go, with as many threads, or with its own choice for 0.
func startOn(cpus string, threads int, command []string, dir string) (*process, error) {
	p := &process{file: filepath.Join(dir, "log"), done: make(chan struct{})}
	out, err := os.Create(p.file)
	if err != nil {
		return nil, err
	}
	defer out.Close()
	p.cmd = exec.Command("taskset", append([]string{"-c", cpus}, command...)...)
	p.cmd.Dir, p.cmd.Stdout, p.cmd.Stderr = dir, out, out
	if threads > 0 {
		p.cmd.Env = append(os.Environ(), fmt.Sprintf("GOMAXPROCS=%d", threads))
	}
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	go func() { p.cmd.Wait(); close(p.done) }()
	return p, nil
}

func (p *process) log() string {
	text, _ := os.ReadFile(p.file)
	return string(text)
}

// stop ends the process and its children.
func (p *process) stop() {
	syscall.Kill(-p.cmd.Process.Pid, syscall.SIGTERM)
	select {
	case <-p.done:
	case <-time.After(5 * time.Second):
	}
	syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL)
	<-p.done
}

// cpuTime is what all processes of the session have used.
func (p *process) cpuTime() time.Duration {
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	ticks := 0
	for _, path := range stats {
		text, err := os.ReadFile(path)
		if err != nil {
			continue // it has ended
		}
		_, rest, _ := strings.Cut(string(text), ") ") // behind the name; see proc(5)
		fields := strings.Fields(rest)
		if len(fields) < 13 || fields[3] != strconv.Itoa(p.cmd.Process.Pid) {
			continue
		}
		for _, field := range fields[11:13] { // user and system time
			n, _ := strconv.Atoi(field)
			ticks += n
		}
	}
	return time.Duration(ticks) * time.Second / tickRate
}

// freePort returns a port that is free for UDP and TCP. It is not one of those that clients get.
func freePort() (int, error) {
	for range 100 {
		port := 10_000 + rand.IntN(20_000)
		addr := fmt.Sprintf("127.0.0.1:%d", port)
		conn, err := net.ListenPacket("udp", addr)
		if err != nil {
			continue
		}
		conn.Close()
		listener, err := net.Listen("tcp", addr)
		if err != nil {
			continue
		}
		listener.Close()
		return port, nil
	}
	return 0, errors.New("of 100 ports, none was free")
}

// awaitAnswer waits until a server gives an address of the pool.
func awaitAnswer(port int) error {
	req := new(dns.Msg)
	req.SetQuestion("dl.example.org.", dns.TypeA)
	client := dns.Client{Timeout: 100 * time.Millisecond}
	problem := errors.New("no answer")
	for deadline := time.Now().Add(startTime); time.Now().Before(deadline); {
		resp, _, err := client.Exchange(req, fmt.Sprintf("127.0.0.1:%d", port))
		switch {
		case err != nil:
			problem = err
		case len(resp.Answer) > 0 || resp.Truncated:
			return nil
		default:
			problem = fmt.Errorf("a response without an answer: %s", dns.RcodeToString[resp.Rcode])
		}
		time.Sleep(20 * time.Millisecond)
	}
	return problem
}
