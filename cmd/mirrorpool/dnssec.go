package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/spf13/cobra"

	"mirrorpool/cmd/mirrorpool/internal/term"
	"mirrorpool/dnspool/authority/dnssec"
)

func newDNSSECCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "dnssec status|ds|rollover",
		Short: "Print the keys that sign the zone and what to give to its parent, or replace the key",
		Args:  wantArgs("want status, ds or rollover", 0, 0),
	}
	cmd.AddCommand(newDNSSECStatusCommand(), newDNSSECDSCommand(), newDNSSECRolloverCommand())
	return cmd
}

func newDNSSECStatusCommand() *cobra.Command {
	var client adminClient
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Print the keys of the zone, when its first signature expires, and whether the parent knows its keys",
		Long: `Print the keys of the zone of a running server with their states, when the first of its signatures expires, what DS records
the parent is to have and has, as a resolver sees it (dns.dnssec.resolver), and what a rollover waits for.

The exit code is 0 if the parent has been seen, and has no DS record or one of a key of the zone, if key files can be read
and written, if signatures are made anew long before they expire, and if no keys end within three days that no others follow;
otherwise 1.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var text json.RawMessage
			if err := client.call(cmd.Context(), http.MethodGet, "/api/v1/dnssec", nil, &text); err != nil {
				return failed(err)
			}
			status, err := readDNSSEC(&client, text)
			if err != nil {
				return err
			}
			if asJSON {
				err = printJSON(cmd.OutOrStdout(), text)
			} else {
				err = term.WriteDNSSEC(cmd.OutOrStdout(), &status, time.Now())
			}
			if err == nil && (status.Parent.Seen.IsZero() || status.Parent.Problem != "" || status.Trouble(time.Now()) != "") {
				return &failure{code: exitFailure}
			}
			return failed(err)
		},
	}
	client.flags(cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the server's answer as it is")
	return cmd
}

func readDNSSEC(client *adminClient, text json.RawMessage) (status dnssec.Status, err error) {
	if err := json.Unmarshal(text, &status); err != nil {
		return status, failed(fmt.Errorf("%s did not return the state of signatures: %v", client.address, err))
	}
	return status, nil
}

func newDNSSECDSCommand() *cobra.Command {
	var client adminClient
	cmd := &cobra.Command{
		Use:   "ds",
		Short: "Print the DS records that the parent zone is to have",
		Long: `Print the DS records that the parent zone is to have now, one in a line, as a zone file has them. During a rollover they
are others at other times: see mirrorpool dnssec status.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var status dnssec.Status
			if err := client.call(cmd.Context(), http.MethodGet, "/api/v1/dnssec", nil, &status); err != nil {
				return failed(err)
			}
			for _, ds := range status.DS {
				fmt.Fprintln(cmd.OutOrStdout(), ds)
			}
			if len(status.DS) == 0 {
				fmt.Fprintln(cmd.ErrOrStderr(), "The parent is to have no DS record: have it remove those that it has.")
			}
			return nil
		},
	}
	client.flags(cmd)
	return cmd
}

func newDNSSECRolloverCommand() *cobra.Command {
	var client adminClient
	var algorithm string
	var abort bool
	cmd := &cobra.Command{
		Use:   "rollover",
		Short: "Begin to replace the key that signs the zone, or give that up",
		Long: `Begin to replace the key that signs the zone, where the server has made it ("keys": "auto"). It goes on by itself, for about a
day and a half with a parent that follows CDS records; otherwise, give the parent the DS records whenever
mirrorpool dnssec status waits for them. --algorithm changes to another algorithm, which takes longer, and
doubles the signatures meanwhile. Where several servers sign the zone, begin on the one that dns.dnssec.leader names.

--abort gives a rollover up that is under way: the old key signs on, and the new one goes, two days after the parent was asked
for a DS record of it. It is refused once the parent has one.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if abort && algorithm != "" {
				return errors.New("want --abort or --algorithm, not both")
			}
			query, method := url.Values{}, http.MethodPost
			if algorithm != "" {
				query.Set("algorithm", algorithm)
			}
			if abort {
				method = http.MethodDelete
			}
			var text json.RawMessage
			if err := client.call(cmd.Context(), method, "/api/v1/dnssec/rollover", query, &text); err != nil {
				return failed(err)
			}
			status, err := readDNSSEC(&client, text)
			if err != nil {
				return err
			}
			return failed(term.WriteDNSSEC(cmd.OutOrStdout(), &status, time.Now()))
		},
	}
	client.flags(cmd)
	cmd.Flags().StringVar(&algorithm, "algorithm", "", "ECDSAP256SHA256 or ED25519; that of the key unless given")
	cmd.Flags().BoolVar(&abort, "abort", false, "give up the rollover that is under way")
	return cmd
}
