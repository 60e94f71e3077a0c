package main

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"time"
)

// sockets measures what an answer by DNS takes at part load, with one socket and with one for each CPU: CPU time, and
// how long a client waits. Servers and load share all CPUs.
func sockets(args []string) error {
	flags := flag.NewFlagSet("sockets", flag.ExitOnError)
	rounds := flags.Int("rounds", 7, "how often each is measured")
	duration := flags.Duration("duration", 2*time.Second, "how long, each time")
	rate := flags.Int("rate", 60_000, "queries a second")
	binary := flags.String("binary", "", "the program, if not one that is built for this")
	if err := flags.Parse(args); err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "mirrorpool-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if *binary == "" {
		if *binary, err = build(dir); err != nil {
			return err
		}
	}
	var one, many []socketsResult
	for round := range *rounds {
		for _, threads := range []int{1, 2} {
			at := filepath.Join(dir, fmt.Sprintf("%d-%d", round, threads))
			r, err := measureSockets(*binary, at, threads, *rate, *duration)
			if err != nil {
				return err
			}
			if threads == 1 {
				one = append(one, r)
			} else {
				many = append(many, r)
			}
		}
	}
	fmt.Print("| sockets | CPU time for an answer | / one | latency, median | 99 % |\n|---|---:|---:|---:|---:|\n")
	var ratios []float64
	for i := range one {
		ratios = append(ratios, many[i].cpu.Seconds()/one[i].cpu.Seconds())
	}
	fmt.Print(socketsRow("1", one, ""), socketsRow("2", many, fmt.Sprintf("%.2f (%.2f-%.2f)", median(ratios), slices.Min(ratios), slices.Max(ratios))))
	return nil
}

// A socketsResult is of one run.
type socketsResult struct{ cpu, p50, p99 time.Duration }

func socketsRow(name string, results []socketsResult, ratio string) string {
	var cpu, p50, p99 []float64
	for _, r := range results {
		cpu, p50, p99 = append(cpu, float64(r.cpu)/1e3), append(p50, float64(r.p50)/1e3), append(p99, float64(r.p99)/1e3)
	}
	return fmt.Sprintf("| %s | %.2f µs | %s | %.0f µs | %.0f µs |\n", name, median(cpu), ratio, median(p50), median(p99))
}

func measureSockets(binary, dir string, threads, rate int, d time.Duration) (r socketsResult, err error) {
	if err := os.Mkdir(dir, 0o777); err != nil {
		return r, err
	}
	port, err := freePort()
	if err != nil {
		return r, err
	}
	if err := (site{dir: dir, port: port, mirrors: 6}).writeMirrorpool(); err != nil {
		return r, err
	}
	if threads > 1 {
		threads = 0 // what the program chooses: a socket for each CPU, and more threads
	}
	p, err := startOn("0-1", threads, []string{binary, "serve", "--config", "mirrorpool.json"}, dir)
	if err != nil {
		return r, err
	}
	defer p.stop()
	if err := awaitAnswer(port); err != nil {
		return r, fmt.Errorf("%w; it says:\n%s", err, p.log())
	}
	queries, err := writeQueries(dir, options{mirrors: 6})
	if err != nil {
		return r, err
	}
	before := p.cpuTime()
	client, err := startAsker(port)
	if err != nil {
		return r, err
	}
	out, err := exec.Command("dnsperf", "-s", "127.0.0.1", "-p", strconv.Itoa(port), "-d", queries, "-c", "16", "-T", "1",
		"-Q", strconv.Itoa(rate), "-l", fmt.Sprintf("%.0f", d.Seconds())).CombinedOutput()
	all, stopErr := client.stop()
	if err != nil {
		return r, fmt.Errorf("dnsperf: %w: %s", err, out)
	}
	if stopErr != nil {
		return r, stopErr
	}
	answers := int(figure(string(out), `Queries completed:\s+(\d+)`)) + len(all)
	r.cpu = (p.cpuTime() - before) / time.Duration(answers)
	slices.Sort(all)
	r.p50, r.p99 = all[len(all)/2], all[len(all)*99/100]
	return r, nil
}
