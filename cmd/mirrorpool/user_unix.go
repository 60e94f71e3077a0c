//go:build unix

package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
)

// runAs runs the program's own command line once more as another user, without --as.
func runAs(cmd *cobra.Command, name string) error {
	if os.Geteuid() != 0 {
		return &failure{exitUsage, errors.New("--as: only root can check as another user")}
	}
	credential, err := credentialOf(name)
	if err != nil {
		return &failure{exitUsage, err}
	}
	program, err := os.Executable()
	if err != nil {
		return failed(err)
	}
	again := exec.CommandContext(cmd.Context(), program, withoutFlag(os.Args[1:], "--as")...)
	again.Stdin, again.Stdout, again.Stderr = cmd.InOrStdin(), cmd.OutOrStdout(), cmd.ErrOrStderr()
	again.SysProcAttr = &syscall.SysProcAttr{Credential: credential}
	err = again.Run()
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		return &failure{code: exit.ExitCode()}
	}
	if err != nil {
		return failed(fmt.Errorf("cannot run %s as %s: %w; install it where that user can run it", program, name, err))
	}
	return nil
}

// credentialOf looks up the ids of a user, with all groups.
func credentialOf(name string) (*syscall.Credential, error) {
	u, err := user.Lookup(name)
	if err != nil {
		return nil, fmt.Errorf("--as %s: no such user", name)
	}
	groups, err := u.GroupIds()
	if err != nil {
		return nil, fmt.Errorf("--as %s: cannot look up the user's groups: %w", name, err)
	}
	var ids []uint32
	for _, text := range append([]string{u.Uid, u.Gid}, groups...) {
		id, err := strconv.ParseUint(text, 10, 32)
		if err != nil {
			return nil, fmt.Errorf("--as %s: the id %q is not a number", name, text)
		}
		ids = append(ids, uint32(id))
	}
	return &syscall.Credential{Uid: ids[0], Gid: ids[1], Groups: ids[2:]}, nil
}

// withoutFlag returns args without a flag that has a value.
func withoutFlag(args []string, flag string) []string {
	args = slices.DeleteFunc(slices.Clone(args), func(arg string) bool { return strings.HasPrefix(arg, flag+"=") })
	if i := slices.Index(args, flag); i >= 0 {
		args = slices.Delete(args, i, min(i+2, len(args)))
	}
	return args
}
