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
	"mirrorpool/dnspool/listen"
)

const (
	adminAddress   = "127.0.0.1:8053" // where a server answers the administrator by default
	adminPort      = "8053"
	maxTokenFile   = 4096            // bytes, as the server takes
	maxRefusal     = 2000            // bytes of a refusal that are shown
	adminTime      = 3 * time.Minute // more than the server gives itself for a reload
	maxAdminAnswer = 64 << 20
)

// An adminClient asks a running server.
type adminClient struct{ address, tokenFile string }

func (a *adminClient) flags(cmd *cobra.Command) {
	cmd.Flags().StringVar(&a.address, "admin", adminAddress, "the running server's admin listener, an `ADDRESS`; unix:/PATH for a Unix socket")
	cmd.Flags().StringVar(&a.tokenFile, "token-file", "",
		"the `FILE` with the administrator's token, to ask from another host, or to change something")
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
	client := http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error {
		return http.ErrUseLastResponse
	}}
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
	if err := json.Unmarshal(text, answer); err != nil && resp.StatusCode == http.StatusConflict {
		return fmt.Errorf("%s refuses: %s", a.address, config.Printable(strings.TrimSpace(string(text[:min(len(text), maxRefusal)]))))
	} else if err != nil {
		return fmt.Errorf("%s answers %s: %s", a.address, resp.Status,
			config.Printable(strings.TrimSpace(string(text[:min(len(text), 200)]))))
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
