package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/http"
	"net/url"
	"time"

	"github.com/spf13/cobra"

	"mirrorpool/cmd/mirrorpool/internal/term"
	"mirrorpool/config"
	"mirrorpool/health/files"
)

// waitPause is how often wait asks the server.
const waitPause = 2 * time.Second

// A waitGoal is what wait waits for.
type waitGoal struct {
	mirrors int
	weight  float64 // share of the enabled weight
	timeout time.Duration
}

func newWaitCommand() *cobra.Command {
	var client adminClient
	var goal waitGoal
	cmd := &cobra.Command{
		Use:   "wait --mirrors N PATH...",
		Short: "Wait until N mirrors carry all the files, for release scripts",
		Long: `Wait until N mirrors that clients may be sent to carry all the files. Paths are below the mirrors' url_prefix. The
state of each file is printed when it changes. The exit code is 0 once the mirrors carry them, and 1 if they do not in time.`,
		Example: "  mirrorpool wait --mirrors 6 --weight 0.5 --timeout 1h stable/x/x.img stable/x/x.iso",
		Args:    wantArgs("want at least one PATH of a file, such as stable/x/x.img", 1, math.MaxInt),
		RunE: func(cmd *cobra.Command, paths []string) error {
			if goal.mirrors < 1 || goal.weight < 0 || goal.weight > 1 || goal.timeout <= 0 {
				return &failure{exitUsage, fmt.Errorf("want --mirrors of at least 1, --weight from 0 to 1 and --timeout above 0")}
			}
			ctx, cancel := context.WithTimeout(cmd.Context(), goal.timeout)
			defer cancel()
			return failed(goal.wait(ctx, cmd, &client, paths))
		},
	}
	client.flags(cmd)
	cmd.Flags().IntVar(&goal.mirrors, "mirrors", 1, "how many mirrors have to carry all the files")
	cmd.Flags().Float64Var(&goal.weight, "weight", 0, "the share of the enabled weight that they have to have, 0 to 1")
	cmd.Flags().DurationVar(&goal.timeout, "timeout", time.Hour, "how long to wait")
	return cmd
}

// wait asks the server until the goal is reached. A server that does not answer may be restarting: that is printed
// once.
func (g *waitGoal) wait(ctx context.Context, cmd *cobra.Command, client *adminClient, paths []string) error {
	ticker := time.NewTicker(waitPause)
	defer ticker.Stop()
	printed, problem := "", ""
	for {
		var list []files.FileStatus
		err := client.call(ctx, http.MethodGet, "/api/v1/files", url.Values{"path": paths}, &list)
		switch {
		case ctx.Err() != nil: // there was no time for an answer
		case err != nil:
			if problem != err.Error() {
				problem = err.Error()
				fmt.Fprintln(cmd.ErrOrStderr(), "waiting: "+config.Printable(problem))
			}
		default:
			problem = ""
			if text := term.Spread(list); text != printed {
				fmt.Fprint(cmd.OutOrStdout(), text)
				printed = text
			}
			if mirrors, weight := files.Complete(list); mirrors >= g.mirrors && weight >= g.weight {
				return nil
			}
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			if problem != "" {
				return errors.New(problem)
			}
			return fmt.Errorf("not enough mirrors carry all the files after %v; 'mirrorpool status' shows which lack what", g.timeout)
		}
	}
}
