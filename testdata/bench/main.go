// Command bench measures what mirrorpool takes on this machine, beside other servers.
//
//	go run ./testdata/bench                  # DNS, beside all servers that are installed
//	go run ./testdata/bench -mirrors 1000    # -edns, -nxdomain, -signed, -rounds 9, -duration 2s ...
//	go run ./testdata/bench flood            # random names of a signed zone, with DO and without
//	go run ./testdata/bench sockets          # DNS at part load, with one socket and with two
//	go run ./testdata/bench https            # redirects over TLS; -rsa
//	go run ./testdata/bench growth           # large pools: memory, start, reload
//
// Each server runs alone, with one thread on the first CPU; dnsperf loads it from the second. The servers take
// turns, and a round's ratio compares what was measured in that round, so that what changes slowly on the machine
// meets all of them. CPU time per answer is what a server takes from a machine; answers per second would show how
// fast dnsperf is.
//
// It needs Linux, two CPUs and dnsperf. Servers that are not installed are left out. All have the same pool; but
// BIND and NSD list all addresses in each answer and heed no weights, and Knot lists one.
package main

import (
	"flag"
	"fmt"
	"log"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

type options struct {
	rounds         int
	duration       time.Duration
	mirrors        int
	edns, nxdomain bool
	signed         bool // the zone
	do             bool // ask for signatures
}

// A result is what one run has measured.
type result struct {
	perCPU float64 // answers per second of the server's CPU time
	lost   int
}

func main() {
	log.SetFlags(0)
	command, args := "dns", os.Args[1:]
	if len(args) > 0 && !strings.HasPrefix(args[0], "-") {
		command, args = args[0], args[1:]
	}
	if err := run(command, args); err != nil {
		log.Fatal(err)
	}
}

func run(command string, args []string) error {
	switch command {
	case "dns":
		return dnsAnswers(args)
	case "https":
		return https(args)
	case "sockets":
		return sockets(args)
	case "growth":
		return growth(args)
	case "flood":
		return flood(args)
	case "ask": // for growth and sockets
		return ask(args)
	case "bare": // for https, as is the next one
		return bare(args[0])
	case "handshakes":
		return handshakes(args)
	default:
		return fmt.Errorf("%s is not measured; dns, flood, sockets, https and growth are", command)
	}
}

// dnsAnswers measures answers by DNS beside other servers.
func dnsAnswers(args []string) error {
	var o options
	flags := flag.NewFlagSet("dns", flag.ExitOnError)
	flags.IntVar(&o.rounds, "rounds", 5, "how often each server is measured")
	flags.DurationVar(&o.duration, "duration", 2*time.Second, "how long, each time")
	flags.IntVar(&o.mirrors, "mirrors", 6, "size of the pool, at most 250*250")
	flags.BoolVar(&o.edns, "edns", false, "ask with EDNS")
	flags.BoolVar(&o.signed, "signed", false, "have the zone signed, and ask for signatures (DO)")
	flags.BoolVar(&o.nxdomain, "nxdomain", false, "ask for names that do not exist")
	if err := flags.Parse(args); err != nil {
		return err
	}
	o.do = o.signed
	dir, err := os.MkdirTemp("", "mirrorpool-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	// The servers drop privileges, or are run as users who have to get here.
	if err := os.Chmod(dir, 0o755); err != nil {
		return err
	}
	servers, err := installed(dir)
	if err != nil {
		return err
	}
	results := map[string][]result{}
	for round := range o.rounds {
		for _, s := range servers {
			r, err := measure(s, filepath.Join(dir, fmt.Sprintf("%s-%d", s.name, round)), o)
			if err != nil {
				return fmt.Errorf("%s: %w", s.name, err)
			}
			results[s.name] = append(results[s.name], r)
		}
	}
	report(servers, results)
	return nil
}

// report prints a table with the medians, and the ratios to the first server round by round.
func report(servers []server, results map[string][]result) {
	fmt.Printf("| server | answers per CPU-second | mirrorpool / it | range | lost |\n|---|---:|---:|---:|---:|\n")
	own := results[servers[0].name]
	for _, s := range servers {
		var speeds, ratios []float64
		lost := 0
		for round, r := range results[s.name] {
			speeds = append(speeds, r.perCPU)
			ratios = append(ratios, own[round].perCPU/r.perCPU)
			lost += r.lost
		}
		slices.Sort(speeds)
		slices.Sort(ratios)
		fmt.Printf("| %s | %.0f | %.2f | %.2f-%.2f | %d |\n", s.name, speeds[len(speeds)/2], ratios[len(ratios)/2], ratios[0],
			ratios[len(ratios)-1], lost)
	}
}

// measure runs a server under load once.
func measure(s server, dir string, o options) (result, error) {
	if err := os.Mkdir(dir, 0o777); err != nil {
		return result{}, err
	}
	port, err := freePort()
	if err != nil {
		return result{}, err
	}
	command, err := s.prepare(site{dir: dir, port: port, mirrors: o.mirrors, signed: o.signed})
	if err != nil {
		return result{}, err
	}
	p, err := start(command, dir)
	if err != nil {
		return result{}, err
	}
	defer p.stop()
	if err := awaitAnswer(port); err != nil {
		return result{}, fmt.Errorf("%w; it says:\n%s", err, p.log())
	}
	queries, err := writeQueries(dir, o)
	if err != nil {
		return result{}, err
	}
	if _, err := load(port, queries, time.Second, o); err != nil { // warm up
		return result{}, err
	}
	before := p.cpuTime()
	out, err := load(port, queries, o.duration, o)
	if err != nil {
		return result{}, err
	}
	used := p.cpuTime() - before
	completed, lost := figure(out, `Queries completed:\s+(\d+)`), figure(out, `Queries lost:\s+(\d+)`)
	return result{perCPU: float64(completed) / used.Seconds(), lost: lost}, nil
}

func writeQueries(dir string, o options) (string, error) {
	var text strings.Builder
	text.WriteString("dl.example.org A\ndl.example.org AAAA\n")
	if o.nxdomain {
		text.Reset()
		for i := range 100_000 {
			fmt.Fprintf(&text, "x%d.dl.example.org A\n", i*7919%1_000_003)
		}
	}
	path := filepath.Join(dir, "queries")
	return path, os.WriteFile(path, []byte(text.String()), 0o644)
}

// load runs dnsperf on the second CPU and returns what it prints.
func load(port int, queries string, duration time.Duration, o options) (string, error) {
	args := []string{"-c", "1", "dnsperf", "-s", "127.0.0.1", "-p", strconv.Itoa(port), "-d", queries,
		"-l", strconv.FormatFloat(duration.Seconds(), 'f', -1, 64), "-c", "16", "-q", "150", "-T", "1"}
	if o.do {
		args = append(args, "-D")
	} else if o.edns {
		args = append(args, "-e")
	}
	out, err := exec.Command("taskset", args...).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("dnsperf: %w\n%s", err, out)
	}
	return string(out), nil
}

func figure(out, pattern string) int {
	found := regexp.MustCompile(pattern).FindStringSubmatch(out)
	if found == nil {
		return 0
	}
	n, _ := strconv.Atoi(found[1])
	return n
}
