package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"mirrorpool/cmd/mirrorpool/internal/probing"
	"mirrorpool/cmd/mirrorpool/internal/term"
	"mirrorpool/config"
	"mirrorpool/dnspool/admin"
)

// completionTime is how long the tab key may wait for a list on the web.
const completionTime = 2 * time.Second

func newProbeCommand() *cobra.Command {
	var flags probeFlags
	cmd := &cobra.Command{
		Use:   "probe {--config FILE [MIRROR...] | --url-prefix URL}",
		Short: "Probe mirrors once, now, and print what came of it",
		Long: `Probe mirrors once, now, as the server does, and print each endpoint with its state, timings and, where
it is not up, the reason.

  mirrorpool probe --config FILE             all mirrors of the pool
  mirrorpool probe --config FILE MIRROR...   some, each given by its url_prefix, name or host
  mirrorpool probe --url-prefix URL          one that is in no pool yet
  mirrorpool probe --from WATCHER            nothing is probed: what another watcher sees, as a running server has heard

With files.origin, each MIRROR that has an rsync_url is also listed, and what it lacks is counted and named.

It reads no verdicts and keeps none, and a running server does not notice. Without health.reference_url the
reference is what mirrors with more than half of the weight carry, so the other enabled mirrors are probed too.

A mirror is up in a role if it is up at one address at least, and stale or down at none: where this host
cannot tell, because it has no route to an address, the mirror is not to blame. Disabled mirrors are shown and do not
count. In a pool of one mirror no reference is known, so --url-prefix cannot tell whether its content is
fresh; it shows how old that is.

The exit code is 0 if all enabled mirrors are up in all their roles, 1 if not or if it is interrupted, and 2 if
the usage, the configuration or the list of mirrors is bad.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := flags.check(cmd, args); err != nil {
				return err
			}
			if flags.from != "" {
				return showWatcher(cmd, &flags, args)
			}
			return runProbe(cmd.Context(), &flags, args, cmd)
		},
	}
	cmd.ValidArgsFunction = flags.complete
	f := cmd.Flags()
	f.StringVar(&flags.config, "config", "", "the server's configuration, a `FILE` such as mirrorpool.json")
	f.BoolVar(&flags.json, "json", false, "print one JSON document")
	f.StringVar(&flags.from, "from", "", "print what this `WATCHER` of the group sees, see --admin")
	flags.client.flags(cmd)
	f.StringVar(&flags.one.URLPrefix, "url-prefix", "", "probe the mirror at this `URL`, without a configuration")
	f.StringSliceVar(&flags.one.IPs, "ip", nil, "at this `ADDRESS`, whatever DNS says; may be repeated")
	f.StringVar(&flags.one.DNSURL, "dns-url", "", "also judge role dns: the `URL` of the trace file at the pool's own name")
	f.StringVar(&flags.one.RsyncURL, "rsync-url", "", "also ask the rsync daemon at this `URL`")
	f.StringVar(&flags.one.Path, "path", "project/trace", "the `PATH` of the trace file below --url-prefix and --rsync-url")
	f.DurationVar(&flags.one.Timeout, "timeout", 10*time.Second, "of each probe")
	f.BoolVar(&flags.one.AllowPrivate, "allow-private", false, "probe private addresses that DNS gives; those of --ip always are")
	return cmd
}

// probeFlags are the flags of probe.
type probeFlags struct {
	config string
	json   bool
	one    probing.OneMirror
	from   string
	client adminClient // for from
}

// complete returns, for the shell, the mirrors of the pool that are not among args: by name, or by host where that is
// enough to tell them apart. Where it cannot, it says why.
func (f *probeFlags) complete(cmd *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
	const only = cobra.ShellCompDirectiveNoFileComp
	because := func(text string) []cobra.Completion {
		first, _, _ := strings.Cut(text, "\n")
		return cobra.AppendActiveHelp(nil, first)
	}
	if f.config == "" {
		return because("to complete mirrors, give --config FILE first"), only
	}
	c, _, err := config.LoadServer(f.config)
	if err != nil {
		return because(err.Error()), only
	}
	ctx, cancel := context.WithTimeout(cmd.Context(), completionTime)
	defer cancel()
	pool, err := probing.ReadPool(ctx, c)
	if err != nil {
		return because(err.Error()), only
	}
	hosts := map[string]int{}
	for i := range pool.Mirrors {
		hosts[pool.Mirrors[i].URL.Host]++
	}
	var names []cobra.Completion
	for i := range pool.Mirrors {
		m := &pool.Mirrors[i]
		name := m.URLPrefix
		switch {
		case m.Name != "":
			name = m.Name
		case hosts[m.URL.Host] == 1:
			name = m.URL.Host
		}
		if !slices.Contains(args, name) {
			names = append(names, cobra.CompletionWithDesc(name, m.URLPrefix))
		}
	}
	return names, only
}

// check says what is wrong with the flags and arguments taken together.
func (f *probeFlags) check(cmd *cobra.Command, args []string) error {
	one := cmd.Flags().Changed("url-prefix")
	if cmd.Flags().Changed("from") {
		return f.checkFrom(cmd)
	}
	switch {
	case one && f.config != "":
		return errors.New("want either --config or --url-prefix, got both")
	case !one && f.config == "":
		return errors.New("want --config FILE, or --url-prefix URL to probe a mirror that is in no pool yet")
	case one && len(args) > 0:
		return fmt.Errorf("--url-prefix probes one mirror, and takes no further ones, got %q", args)
	}
	for _, name := range []string{"ip", "dns-url", "rsync-url", "path", "timeout", "allow-private"} {
		if !one && cmd.Flags().Changed(name) {
			return fmt.Errorf("--%s goes with --url-prefix; with --config, it is the files that say", name)
		}
	}
	return nil
}

// checkFrom is check with --from.
func (f *probeFlags) checkFrom(cmd *cobra.Command) error {
	if f.from == "" {
		return errors.New("want a name after --from; 'mirrorpool status' names the watchers")
	}
	var err error
	cmd.Flags().Visit(func(flag *pflag.Flag) {
		if !slices.Contains([]string{"from", "admin", "token-file", "json"}, flag.Name) {
			err = fmt.Errorf("--from asks a running server and probes nothing: it does not go with --%s", flag.Name)
		}
	})
	return err
}

// showWatcher prints what a watcher sees, of all mirrors or those that args name.
func showWatcher(cmd *cobra.Command, flags *probeFlags, args []string) error {
	var view admin.WatcherView
	err := flags.client.call(cmd.Context(), http.MethodGet, "/api/v1/watch", url.Values{"from": {flags.from}}, &view)
	if err != nil {
		return failed(err)
	}
	if err := view.Only(args); err != nil {
		return &failure{exitUsage, err}
	}
	out := cmd.OutOrStdout()
	if flags.json {
		err = term.WriteJSON(out, view)
	} else {
		err = term.WriteView(out, &view, time.Now(), term.Colours(out))
	}
	if err != nil {
		return failed(err)
	}
	if slices.ContainsFunc(view.Seen, func(m admin.SeenMirror) bool { return !m.Up() }) {
		return &failure{code: exitFailure}
	}
	return nil
}

// runProbe probes what the flags and arguments say, and prints the result.
func runProbe(ctx context.Context, flags *probeFlags, args []string, cmd *cobra.Command) error {
	stdout, stderr := cmd.OutOrStdout(), cmd.ErrOrStderr()
	plan, err := newPlan(ctx, flags, args)
	if ctx.Err() != nil {
		return failed(probing.ErrInterrupted)
	}
	if err != nil {
		return &failure{exitUsage, err}
	}
	for _, w := range plan.Warnings {
		fmt.Fprintf(stderr, "warning: %s\n", w)
	}
	progress := term.NewProgress(stderr)
	result, err := plan.Run(ctx, progress.Show)
	progress.Clear()
	if err != nil {
		return failed(err)
	}
	if flags.json {
		err = term.WriteJSON(stdout, result)
	} else {
		err = result.WriteText(stdout, term.Colours(stdout))
	}
	if err != nil {
		return failed(err)
	}
	if !result.OK {
		return &failure{code: exitFailure}
	}
	return nil
}

// newPlan finds out what to probe.
func newPlan(ctx context.Context, flags *probeFlags, args []string) (*probing.Plan, error) {
	if flags.config == "" {
		return flags.one.Plan()
	}
	c, _, err := config.LoadServer(flags.config)
	if err != nil {
		return nil, err
	}
	pool, err := probing.ReadPool(ctx, c)
	if err != nil {
		return nil, err
	}
	plan, err := probing.PlanPool(c.Health, pool, args)
	if err == nil && len(args) > 0 {
		plan.CompareFiles(c.Files)
	}
	return plan, err
}
