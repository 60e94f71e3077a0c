package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"mirrorpool/config"
	"mirrorpool/config/safefile"
	"mirrorpool/dnspool/admin"
	"mirrorpool/dnspool/listen"
)

const (
	adminAddress   = "127.0.0.1:8053" // where a server answers the administrator by default
	adminPort      = "8053"
	maxTokenFile   = 4096            // bytes, as the server takes
	adminTime      = 3 * time.Minute // more than the server gives itself for a reload
	maxAdminAnswer = 64 << 20
)

// An adminClient asks a running server.
type adminClient struct{ address, tokenFile string }

func (a *adminClient) flags(cmd *cobra.Command) {
	cmd.Flags().StringVar(&a.address, "admin", adminAddress, "the running server's admin listener; unix:/PATH for a Unix socket")
	cmd.Flags().StringVar(&a.tokenFile, "token-file", "", "the file with the administrator's token, to ask from another host or to reload")
}

// call sends a request and reads its answer, whatever the status, into answer.
func (a *adminClient) call(ctx context.Context, method, path string, query url.Values, answer any) error {
	ctx, cancel := context.WithTimeout(ctx, adminTime)
	defer cancel()
	transport := &http.Transport{}
	host := withPort(a.address, adminPort)
	if socket, ok := listen.UnixPath(a.address); ok {
		host = "localhost"
		transport.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", socket)
		}
	}
	u := url.URL{Scheme: "http", Host: host, Path: path, RawQuery: query.Encode()}
	req, err := http.NewRequestWithContext(ctx, method, u.String(), nil)
	if err != nil {
		return fmt.Errorf("want an address such as %q after --admin, got %q", adminAddress, a.address)
	}
	if a.tokenFile != "" {
		token, err := safefile.Read(a.tokenFile, maxTokenFile)
		if err != nil {
			return fmt.Errorf("cannot read the administrator's token: %v", err)
		}
		req.Header.Set("Authorization", "Bearer "+string(bytes.TrimSpace(token)))
	}
	// A redirect would take the token elsewhere, and no proxy leads to an admin listener.
	client := http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	defer client.CloseIdleConnections()
	resp, err := client.Do(req)
	if err != nil {
		var uerr *url.Error
		if errors.As(err, &uerr) {
			err = uerr.Err
		}
		return fmt.Errorf("no server answers at %s: %v; is it running, and is this its admin listener? See --admin", a.address, err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxAdminAnswer))
	if err != nil {
		return fmt.Errorf("reading the response of %s: %v", a.address, err)
	}
	if err := json.Unmarshal(text, answer); err != nil {
		return fmt.Errorf("%s answers %s: %s", a.address, resp.Status, config.Printable(strings.TrimSpace(string(text[:min(len(text), 200)]))))
	}
	return nil
}

// withPort adds a port to an address that has none.
func withPort(address, port string) string {
	if _, _, err := net.SplitHostPort(address); err == nil {
		return address
	}
	return net.JoinHostPort(strings.Trim(address, "[]"), port)
}

// printJSON prints what a server sent, with nothing in it that a terminal would obey.
func printJSON(w io.Writer, text json.RawMessage) error {
	_, err := fmt.Fprintln(w, config.PrintableLines(string(text)))
	return err
}

func newReloadCommand() *cobra.Command {
	var client adminClient
	var confirm, dryRun bool
	cmd := &cobra.Command{
		Use:   "reload",
		Short: "Make a running server read its configuration and list of mirrors again",
		Long: `Make a running server read its configuration and its list of mirrors again, and print what changed.

An update that takes away more of the pool than mirrors_guard allows is held back; --confirm accepts it. --dry-run
prints what would change, and changes nothing. The list of mirrors is also read by itself as it changes; what the
server took by itself in the last ten minutes is printed too.

A reload puts all keys of the configuration in force, but for these, which need a restart:
  ` + strings.Join(config.RestartKeys(), ", ") + `

The exit code is 0 if all that is new is in force, or waits for a restart, and 1 if something was refused or held back.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			query := url.Values{}
			if confirm {
				query.Set("confirm", "true")
			}
			if dryRun {
				query.Set("dry_run", "true")
			}
			var answer admin.ReloadAnswer
			if err := client.call(cmd.Context(), http.MethodPost, "/api/v1/reload", query, &answer); err != nil {
				return failed(err)
			}
			printReload(cmd.OutOrStdout(), cmd.ErrOrStderr(), &answer, time.Now())
			if !answer.OK {
				return &failure{code: exitFailure}
			}
			return nil
		},
	}
	client.flags(cmd)
	cmd.Flags().BoolVar(&confirm, "confirm", false, "accept an update of the pool that is held back")
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "print what would change, and change nothing")
	return cmd
}

// latestTime is how long an update that the server took by itself is printed by the next reload.
const latestTime = 10 * time.Minute

// printReload prints what came of a reload, and to stderr why something was refused.
func printReload(stdout, stderr io.Writer, a *admin.ReloadAnswer, now time.Time) {
	for _, w := range a.Pool.Warnings {
		fmt.Fprintf(stderr, "warning: %s\n", config.Printable(w))
	}
	for _, e := range []string{a.Settings.Error, a.Pool.Error} {
		if e != "" {
			printError(stderr, errors.New(e))
		}
	}
	printKeys(stdout, a.Settings.Applied, verb("changed", "would change", a.DryRun))
	printKeys(stdout, a.Settings.Restart, "changed, which needs a restart")
	recent := a.Pool.Latest != nil && now.Sub(a.Pool.Latest.At) < latestTime
	switch {
	case a.Pool.Change != nil && a.Pool.Error != "":
		printChange(stdout, "pool: unchanged; held back:", a.Pool.Change)
	case a.Pool.Change != nil:
		printChange(stdout, "pool: "+verb("changed:", "would change:", a.DryRun), a.Pool.Change)
	case a.Pool.Error != "":
		fmt.Fprintln(stdout, "pool: unchanged")
	case recent:
		printChange(stdout, fmt.Sprintf("pool: nothing new; the server took this by itself, %s:", admin.Ago(a.Pool.Latest.At, now)), &a.Pool.Latest.Change)
	default:
		fmt.Fprintln(stdout, "pool: nothing new")
	}
}

// verb is what happened, or with dryRun what would.
func verb(happened, would string, dryRun bool) string {
	if dryRun {
		return would
	}
	return happened
}

func printKeys(w io.Writer, keys []string, what string) {
	if len(keys) > 0 {
		fmt.Fprintf(w, "configuration: %s %s\n", config.Printable(strings.Join(keys, ", ")), what)
	}
}

func printChange(w io.Writer, title string, change *config.Change) {
	fmt.Fprintln(w, title)
	for _, line := range change.Lines() {
		fmt.Fprintf(w, "  %s\n", config.Printable(line))
	}
}
