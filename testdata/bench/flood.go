package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// flood measures what an answer to a query for a random name takes where the zone is signed: with proof that there is
// no such name (DO), and without.
func flood(args []string) error {
	flags := flag.NewFlagSet("flood", flag.ExitOnError)
	rounds := flags.Int("rounds", 9, "how often each is measured")
	duration := flags.Duration("duration", 2*time.Second, "how long, each time")
	mirrors := flags.Int("mirrors", 30, "size of the pool, at most 250*250")
	if err := flags.Parse(args); err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "mirrorpool-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	binary, err := build(dir)
	if err != nil {
		return err
	}
	ours := mirrorpool(binary)
	var plain, proved, ratios []float64
	for round := range *rounds {
		for _, do := range []bool{false, true} {
			o := options{duration: *duration, mirrors: *mirrors, edns: true, nxdomain: true, signed: true, do: do}
			r, err := measure(ours, filepath.Join(dir, fmt.Sprintf("%d-%v", round, do)), o)
			switch {
			case err != nil:
				return err
			case do:
				proved = append(proved, 1e6/r.perCPU)
			default:
				plain = append(plain, 1e6/r.perCPU)
			}
		}
		ratios = append(ratios, proved[round]/plain[round])
	}
	fmt.Printf("CPU time for an answer: %.2f µs without DO, %.2f µs with it; with / without %.2f (%.2f-%.2f)\n",
		median(plain), median(proved), median(ratios), slices.Min(ratios), slices.Max(ratios))
	return nil
}
