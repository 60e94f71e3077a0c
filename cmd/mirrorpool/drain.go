package main

import (
	"errors"
	"net/http"
	"net/url"
	"os"
	"os/user"
	"strconv"

	"github.com/spf13/cobra"

	"mirrorpool/cmd/mirrorpool/internal/term"
	"mirrorpool/dnspool"
	"mirrorpool/dnspool/admin"
)

// drainFlags are those of drain, pardon and undrain.
type drainFlags struct {
	client           adminClient
	role, reason, by string
	lasts            string
	anyway, forceUp  bool
}

func newDrainCommand() *cobra.Command {
	var f drainFlags
	cmd := &cobra.Command{
		Use:   "drain MIRROR --for DURATION --reason TEXT",
		Short: "Take a mirror out of answers for a while",
		Long: `Take a mirror out of DNS answers and redirects for a while, whatever the checks say. MIRROR is its url_prefix, name or
host. It is out within a second. The drain ends by itself, survives a restart of the server (with state_dir), and does not
depend on the list of mirrors. A drain in place of an earlier one of the same mirror and role replaces it. Other servers of
the group (see watch) heed it, too.

A drain that would leave no mirror that is up for DNS answers or for redirects, over IPv4 or IPv6, is refused; --anyway
drains it all the same, even if no answer is left to give. --force-up does what 'mirrorpool pardon' does.

The exit code is 0 if the drain is in force, and 1 if it was refused.`,
		Args: wantArgs("want one MIRROR: its url_prefix, name or host", 1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			kind := dnspool.Drain
			if f.forceUp {
				kind = dnspool.ForceUp
			}
			return f.set(cmd, args[0], kind)
		},
	}
	f.forAll(cmd)
	f.forNew(cmd)
	cmd.Flags().BoolVar(&f.anyway, "anyway", false, "drain it even if no other mirror that is up is left")
	cmd.Flags().BoolVar(&f.forceUp, "force-up", false, "have it serve instead, as 'mirrorpool pardon' does")
	return cmd
}

func newPardonCommand() *cobra.Command {
	var f drainFlags
	cmd := &cobra.Command{
		Use:   "pardon MIRROR --for DURATION --reason TEXT",
		Short: "Have a mirror serve for a while although its checks fail",
		Long: `Have a mirror serve for a while as if all its addresses were up, steady and current: for one whose checks are
wrong. MIRROR is its url_prefix, name or host. A disabled mirror (weight 0) does not serve by this. 'mirrorpool undrain'
ends it early.

The exit code is 0 if it is in force, and 1 if it was refused.`,
		Args: wantArgs("want one MIRROR: its url_prefix, name or host", 1, 1),
		RunE: func(cmd *cobra.Command, args []string) error { return f.set(cmd, args[0], dnspool.ForceUp) },
	}
	f.forAll(cmd)
	f.forNew(cmd)
	return cmd
}

func newUndrainCommand() *cobra.Command {
	var f drainFlags
	cmd := &cobra.Command{
		Use:   "undrain MIRROR",
		Short: "End a drain or a pardon before its time",
		Long: `End what 'mirrorpool drain' or 'mirrorpool pardon' has put in force for a mirror. MIRROR is its url_prefix, name or host.

The exit code is 0 if something was ended, and 1 if there was nothing to end.`,
		Args: wantArgs("want one MIRROR: its url_prefix, name or host", 1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return f.send(cmd, http.MethodDelete, url.Values{"mirror": args})
		},
	}
	f.forAll(cmd)
	return cmd
}

func (f *drainFlags) forAll(cmd *cobra.Command) {
	f.client.flags(cmd)
	cmd.Flags().StringVar(&f.role, "role", "", `"dns" or "http" alone; without it, both`)
	cmd.Flags().StringVar(&f.by, "by", "", "the person to name (default: the user's login name)")
}

func (f *drainFlags) forNew(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.lasts, "for", "", "how long, such as 90m, 48h or 2d, at most 90d")
	cmd.Flags().StringVar(&f.reason, "reason", "", "why; others will see it")
}

func (f *drainFlags) set(cmd *cobra.Command, mirror string, kind dnspool.OverrideKind) error {
	if f.lasts == "" || f.reason == "" {
		return errors.New(`want --for and --reason, such as --for 2h --reason "disk swap"`)
	}
	return f.send(cmd, http.MethodPost, url.Values{
		"mirror": {mirror}, "kind": {kind.String()}, "for": {f.lasts}, "reason": {f.reason},
		"anyway": {strconv.FormatBool(f.anyway)},
	})
}

// send sends a request and prints what came of it.
func (f *drainFlags) send(cmd *cobra.Command, method string, query url.Values) error {
	if f.by == "" {
		f.by = loginName()
	}
	query.Set("by", f.by)
	query.Set("role", f.role)
	var answer admin.OverrideAnswer
	if err := f.client.call(cmd.Context(), method, "/api/v1/drain", query, &answer); err != nil {
		return failed(err)
	}
	if !answer.OK {
		return failed(errors.New(answer.Error))
	}
	term.WriteOverrides(cmd.OutOrStdout(), cmd.ErrOrStderr(), &answer, method == http.MethodDelete)
	return nil
}

// loginName is the name of the person at the terminal, also behind sudo; "unknown" if there is none.
func loginName() string {
	if name := os.Getenv("SUDO_USER"); name != "" {
		return name
	}
	if u, err := user.Current(); err == nil && u.Username != "" {
		return u.Username
	}
	return "unknown"
}
