package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"strings"

	"github.com/spf13/cobra"

	"mirrorpool/cmd/mirrorpool/internal/term"
	"mirrorpool/dnspool/admin"
)

func newExplainCommand() *cobra.Command {
	var client adminClient
	var address string
	var secure, asJSON bool
	cmd := &cobra.Command{
		Use:   "explain --client IP [PATH]",
		Short: "Print what a client would be sent to by a running server, and why",
		Long: `Print what a client would be sent to by a running server, and why each other mirror lost.

How far a mirror is comes from its distance and from what lies between the two networks, both in km:
FAR = 100 + DISTANCE + BORDER. NEAR is 1 for near mirrors and those of the client's country, else FAR of the nearest
divided by FAR, and 0 for mirrors that do not compete. POINTS = WEIGHT * NEAR, and SHARE is how many of the clients at
this place it gets, in proportion to the points as far as max_share allows.`,
		Args: wantArgs("want one PATH at most", 0, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if _, err := netip.ParseAddr(address); err != nil {
				return &failure{exitUsage, fmt.Errorf("want an IP address after --client, got %q", address)}
			}
			query := url.Values{"client": {address}, "secure": {fmt.Sprint(secure)}}
			if len(args) > 0 {
				query.Set("path", "/"+strings.TrimPrefix(args[0], "/"))
			}
			var text json.RawMessage
			if err := client.call(cmd.Context(), http.MethodGet, "/api/v1/explain", query, &text); err != nil {
				return failed(err)
			}
			out := cmd.OutOrStdout()
			if asJSON {
				return failed(printJSON(out, text))
			}
			var answer admin.ExplainAnswer
			if err := json.Unmarshal(text, &answer); err != nil {
				return failed(fmt.Errorf("%s did not return an explanation: %v", client.address, err))
			}
			return failed(term.WriteExplanation(out, &answer))
		},
	}
	client.flags(cmd)
	cmd.Flags().StringVar(&address, "client", "", "the client's `IP` address")
	require(cmd, "client", "IP")
	cmd.Flags().BoolVar(&secure, "https", false, "as if it asked over https")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the server's answer as it is")
	return cmd
}
