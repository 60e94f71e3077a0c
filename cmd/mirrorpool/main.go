// Command mirrorpool keeps a free-software project's download mirrors usable: it watches a list of mirrors,
// and answers DNS and HTTP with those that are fit to serve.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"mirrorpool/cmd/mirrorpool/internal/term"
)

// Exit codes, of all commands.
const (
	exitOK      = 0
	exitFailure = 1
	exitUsage   = 2 // bad usage or configuration
)

func main() {
	os.Exit(run(context.Background(), os.Args[1:], os.Stdout, os.Stderr))
}

// run runs the command that args name, and returns the program's exit code.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second signal kills at once

	root := newRootCommand()
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	cmd, err := root.ExecuteContextC(ctx)
	var failed *failure
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &failed):
		if failed.err != nil {
			term.WriteError(stderr, failed.err)
		}
		return failed.code
	default: // of cobra: an unknown command or flag
		term.WriteError(stderr, oneLine(err))
		fmt.Fprintf(stderr, "Try '%s --help'.\n", cmd.CommandPath())
		return exitUsage
	}
}

// oneLine is err of cobra, with what it suggests on the same line.
func oneLine(err error) error {
	text, names, ok := strings.Cut(err.Error(), "\n\nDid you mean this?\n")
	if !ok {
		return err
	}
	text = strings.TrimSuffix(text, ` for "mirrorpool"`)
	return fmt.Errorf(`%s; did you mean "%s"?`, text, strings.Join(strings.Fields(names), `" or "`))
}

// wantArgs refuses fewer arguments than least and more than most, and says what is wanted instead.
func wantArgs(want string, least, most int) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		if len(args) < least || len(args) > most {
			return errors.New(want)
		}
		return nil
	}
}

// noArgs refuses arguments.
var noArgs = wantArgs("want no arguments, flags only", 0, 0)

// require makes a flag one that has to be given. value is what its value is called.
func require(cmd *cobra.Command, flag, value string) {
	cmd.MarkFlagRequired(flag) // completion offers it first
	cmd.PreRunE = func(cmd *cobra.Command, _ []string) error {
		if !cmd.Flags().Changed(flag) {
			return fmt.Errorf("want --%s %s", flag, value)
		}
		return nil
	}
}

// A failure is an error with the exit code that it leads to. A nil err has been reported already.
type failure struct {
	code int
	err  error
}

func (f *failure) Error() string {
	if f.err == nil {
		return fmt.Sprintf("exit status %d", f.code)
	}
	return f.err.Error()
}

func (f *failure) Unwrap() error { return f.err }

// failed is err, leading to exit code 1; nil stays nil.
func failed(err error) error {
	if err == nil {
		return nil
	}
	return &failure{exitFailure, err}
}

func newRootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:           "mirrorpool",
		Short:         "Answer DNS and HTTP with the mirrors that are fit to serve",
		Version:       versionLine(),
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	root.SetVersionTemplate("{{.Version}}\n")
	root.AddCommand(newServeCommand(), newDemoCommand(), newCheckCommand(), newProbeCommand(), newPublishCommand(),
		newReloadCommand(), newStatusCommand(), newExplainCommand(), newFilesCommand(), newWaitCommand(),
		newDrainCommand(), newUndrainCommand(), newPardonCommand(), newLedgerCommand(), newMailCommand(), newStatsCommand(), newDNSSECCommand(), newSchemaCommand(),
		newManCommand(), newVersionCommand())
	root.AddCommand(newTopics()...)
	root.SetHelpCommand(newHelpCommand())
	return root
}
