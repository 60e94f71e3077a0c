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
)

const (
	adminAddress   = "127.0.0.1:8053" // where a server answers the administrator by default
	adminPort      = "8053"
	maxTokenFile   = 1 << 10         // bytes
	adminTime      = 3 * time.Minute // more than the server gives itself for a reload
	maxAdminAnswer = 64 << 20
)

// An adminClient asks a running server.
type adminClient struct{ address, tokenFile string }

func (a *adminClient) flags(cmd *cobra.Command) {
	cmd.Flags().StringVar(&a.address, "admin", adminAddress, "the running server's admin listener")
	cmd.Flags().StringVar(&a.tokenFile, "token-file", "", "the file with the administrator's token, to ask from another host")
}

// call sends a request and reads its answer, whatever the status, into answer.
func (a *adminClient) call(ctx context.Context, method, path string, query url.Values, answer any) error {
	ctx, cancel := context.WithTimeout(ctx, adminTime)
	defer cancel()
	u := url.URL{Scheme: "http", Host: withPort(a.address, adminPort), Path: path, RawQuery: query.Encode()}
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
	client := http.Client{Transport: &http.Transport{}, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
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
	var confirm bool
	cmd := &cobra.Command{
		Use:   "reload",
		Short: "Make a running server read its configuration and list of mirrors again",
		Long: `Make a running server read its configuration and its list of mirrors again, and print what changed.

An update that takes away more of the pool than mirrors_guard allows is held back; --confirm accepts it.
The exit code is 0 if all that is new is in force or nothing is, and 1 if something was refused or held back.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			query := url.Values{}
			if confirm {
				query.Set("confirm", "true")
			}
			var answer admin.ReloadAnswer
			if err := client.call(cmd.Context(), http.MethodPost, "/api/v1/reload", query, &answer); err != nil {
				return failed(err)
			}
			printReload(cmd.OutOrStdout(), cmd.ErrOrStderr(), &answer)
			if !answer.OK {
				return &failure{code: exitFailure}
			}
			return nil
		},
	}
	client.flags(cmd)
	cmd.Flags().BoolVar(&confirm, "confirm", false, "accept an update of the pool that is held back")
	return cmd
}

// printReload tells what came of a reload, and to stderr why something was refused.
func printReload(stdout, stderr io.Writer, a *admin.ReloadAnswer) {
	for _, w := range a.Pool.Warnings {
		fmt.Fprintf(stderr, "warning: %s\n", config.Printable(w))
	}
	for _, e := range []string{a.Settings.Error, a.Pool.Error} {
		if e != "" {
			printError(stderr, errors.New(e))
		}
	}
	if len(a.Settings.Applied) > 0 {
		fmt.Fprintf(stdout, "configuration: %s changed\n", config.Printable(strings.Join(a.Settings.Applied, ", ")))
	}
	if len(a.Settings.Restart) > 0 {
		fmt.Fprintf(stdout, "configuration: %s changed, which needs a restart\n", config.Printable(strings.Join(a.Settings.Restart, ", ")))
	}
	switch {
	case a.Pool.Change != nil && a.Pool.Error != "":
		fmt.Fprintln(stdout, "pool: unchanged; held back:")
	case a.Pool.Change != nil:
		fmt.Fprintln(stdout, "pool: changed:")
	case a.Pool.Error != "":
		fmt.Fprintln(stdout, "pool: unchanged")
	default:
		fmt.Fprintln(stdout, "pool: nothing new")
	}
	if a.Pool.Change != nil {
		for _, line := range a.Pool.Change.Lines() {
			fmt.Fprintf(stdout, "  %s\n", config.Printable(line))
		}
	}
}
