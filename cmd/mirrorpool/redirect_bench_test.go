package main

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// BenchmarkRedirectLatency is how long redirects take of a server with one CPU that is busy for 80 % of the time: by place,
// for 30 mirrors, sticky. What the server can do at most is measured before, by the CPU time that a redirect takes. A request
// is due at its time whatever became of those before it, and its latency counts from then.
func BenchmarkRedirectLatency(b *testing.B) {
	c, where := geoConfig(b)
	var mirrors []string
	for i := range 30 {
		mirrors = append(mirrors, fmt.Sprintf(`{"url_prefix": "http://m%d.example.org/tails/", "weight": %d, "dns": {"addresses": ["198.18.%d.7"]}}`, i, 10+i%3, i))
	}
	b.Setenv("GOMAXPROCS", "1")
	p := c.serve(b, where, `{"version": 1, "mirrors": [`+strings.Join(mirrors, ",")+`]}`)
	pin(b, p.cmd.Process.Pid)
	var clients []*redirectClient
	for i := range 16 {
		clients = append(clients, newRedirectClient(b, p.web, i))
	}
	const atFullSpeed = 2 * time.Second
	before, count := cpuOf(b, p.cmd.Process.Pid), 0
	var mu sync.Mutex
	all(clients, func(_ int, rc *redirectClient) {
		n := 0
		for end := time.Now().Add(atFullSpeed); time.Now().Before(end); n++ {
			rc.ask(b)
		}
		mu.Lock()
		defer mu.Unlock()
		count += n
	})
	most := float64(count) / (cpuOf(b, p.cmd.Process.Pid) - before).Seconds()
	pause := time.Duration(float64(len(clients)) / (0.8 * most) * float64(time.Second))

	var latencies []time.Duration
	start, before := time.Now(), cpuOf(b, p.cmd.Process.Pid)
	each := max(1, b.N/len(clients))
	all(clients, func(i int, rc *redirectClient) {
		due := start.Add(pause * time.Duration(i) / time.Duration(len(clients)))
		mine := make([]time.Duration, 0, each)
		for range each {
			time.Sleep(time.Until(due))
			rc.ask(b)
			mine = append(mine, time.Since(due))
			due = due.Add(pause)
		}
		mu.Lock()
		defer mu.Unlock()
		latencies = append(latencies, mine...)
	})
	busy := (cpuOf(b, p.cmd.Process.Pid) - before).Seconds() / time.Since(start).Seconds()
	slices.Sort(latencies)
	b.ReportMetric(most, "requests/CPU-s")
	b.ReportMetric(100*busy, "%busy")
	b.ReportMetric(float64(latencies[len(latencies)/2].Microseconds()), "p50-µs")
	b.ReportMetric(float64(latencies[len(latencies)*99/100].Microseconds()), "p99-µs")
	p.stop(b)
}

// all runs do for each client, side by side.
func all(clients []*redirectClient, do func(int, *redirectClient)) {
	var group sync.WaitGroup
	for i, rc := range clients {
		group.Go(func() { do(i, rc) })
	}
	group.Wait()
}

// A redirectClient is a connection that stays open.
type redirectClient struct {
	conn net.Conn
	in   *bufio.Reader
	text []byte
}

func newRedirectClient(b *testing.B, addr string, i int) *redirectClient {
	b.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { conn.Close() })
	text := fmt.Sprintf("GET /stable/image.iso HTTP/1.1\r\nHost: dl.example.org\r\nX-Forwarded-For: 198.18.%d.%d\r\n\r\n", i*6, 50+i)
	return &redirectClient{conn, bufio.NewReader(conn), []byte(text)}
}

// ask asks once.
func (rc *redirectClient) ask(b *testing.B) {
	if _, err := rc.conn.Write(rc.text); err != nil {
		b.Error(err)
		return
	}
	resp, err := http.ReadResponse(rc.in, nil)
	if err != nil || resp.StatusCode != http.StatusFound {
		b.Errorf("%v, %v; want a redirect", resp, err)
		return
	}
	resp.Body.Close()
}

// pin leaves a process the first CPU, and us the others, if there are any.
func pin(b *testing.B, pid int) {
	b.Helper()
	var first, others, all unix.CPUSet
	if err := unix.SchedGetaffinity(0, &all); err != nil || all.Count() < 2 {
		return
	}
	for cpu, n := 0, 0; n < all.Count(); cpu++ {
		if !all.IsSet(cpu) {
			continue
		}
		if n == 0 {
			first.Set(cpu)
		} else {
			others.Set(cpu)
		}
		n++
	}
	for set, process := range map[*unix.CPUSet]int{&first: pid, &others: os.Getpid()} {
		tasks, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", process))
		if err != nil {
			b.Skip(err)
		}
		for _, task := range tasks {
			if id, err := strconv.Atoi(task.Name()); err == nil {
				unix.SchedSetaffinity(id, set) // a thread that is gone needs no CPU
			}
		}
	}
}

// cpuOf is how much CPU time a process has used.
func cpuOf(b *testing.B, pid int) time.Duration {
	b.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		b.Skip(err)
	}
	_, rest, _ := strings.Cut(string(text), ") ")
	fields := strings.Fields(rest)
	ticks := 0
	for _, field := range fields[11:13] { // utime and stime, in hundredths of a second
		n, err := strconv.Atoi(field)
		if err != nil {
			b.Fatal(err)
		}
		ticks += n
	}
	return time.Duration(ticks) * 10 * time.Millisecond
}
