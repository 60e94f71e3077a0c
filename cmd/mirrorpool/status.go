package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"github.com/spf13/cobra"

	"mirrorpool/cmd/mirrorpool/internal/term"
	"mirrorpool/dnspool/admin"
)

func newStatusCommand() *cobra.Command {
	var client adminClient
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "status [MIRROR]",
		Short: "Print the state of every mirror, as a running server has it",
		Long: `Print the state of every mirror, as a running server has it: each address in each role with its state, and the reason
where it is not up. Of a mirror that is not up throughout, the operators' address and the notes of the list are printed, too.

With MIRROR, a url_prefix, name or host, only that mirror is printed, and how it did in half a year ('mirrorpool ledger' lists
the incidents).

The exit code is 0 if the server has answered, whatever the state of the mirrors, and 1 if it has not.`,
		Args: wantArgs("want at most one MIRROR: its url_prefix, name or host", 0, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			var text json.RawMessage
			if err := client.call(cmd.Context(), http.MethodGet, "/api/v1/status", nil, &text); err != nil {
				return failed(err)
			}
			out := cmd.OutOrStdout()
			if asJSON && len(args) == 0 {
				return failed(printJSON(out, text))
			}
			var status admin.Status
			if err := json.Unmarshal(text, &status); err != nil {
				return failed(fmt.Errorf("%s did not return a status: %v", client.address, err))
			}
			if len(args) == 1 && !status.Only(args[0]) {
				return failed(fmt.Errorf("no mirror has the url_prefix, name or host %q; 'mirrorpool status' shows all", args[0]))
			}
			if asJSON {
				return failed(term.WriteJSON(out, status.Mirrors))
			}
			if len(args) == 1 {
				return failed(term.WriteMirror(out, &status, time.Now(), term.Colours(out)))
			}
			return failed(term.WriteStatus(out, &status, time.Now(), term.Colours(out)))
		},
	}
	client.flags(cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the server's answer as it is; with MIRROR, that mirror's part")
	return cmd
}
