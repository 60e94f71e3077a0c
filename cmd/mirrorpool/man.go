package main

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"mirrorpool/config"
)

// newManCommand is for those that package mirrorpool: it is not listed.
func newManCommand() *cobra.Command {
	return &cobra.Command{
		Use:    "man FOLDER",
		Short:  "Write the manual pages into man1 and man5 of a folder",
		Hidden: true,
		Args:   wantArgs("want one FOLDER", 1, 1),
		RunE:   func(cmd *cobra.Command, args []string) error { return failed(writeManual(cmd.Root(), args[0])) },
	}
}

func writeManual(root *cobra.Command, folder string) error {
	commands, files := filepath.Join(folder, "man1"), filepath.Join(folder, "man5")
	for _, section := range [...]string{commands, files} {
		if err := os.MkdirAll(section, 0o755); err != nil {
			return err
		}
	}
	if err := writeCommandPages(root, commands); err != nil {
		return err
	}
	for _, f := range describedFiles() {
		if err := os.WriteFile(filepath.Join(files, f.name+".5"), f.manual(), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// writeCommandPages writes the page of a command, and of those below it that are listed.
func writeCommandPages(cmd *cobra.Command, folder string) error {
	name := pageName(cmd)
	if err := os.WriteFile(filepath.Join(folder, name+".1"), commandManual(cmd), 0o644); err != nil {
		return err
	}
	for _, below := range listedCommands(cmd) {
		if err := writeCommandPages(below, folder); err != nil {
			return err
		}
	}
	return nil
}

func pageName(cmd *cobra.Command) string { return strings.ReplaceAll(cmd.CommandPath(), " ", "-") }

func listedCommands(cmd *cobra.Command) (listed []*cobra.Command) {
	for _, c := range cmd.Commands() {
		if c.IsAvailableCommand() && !c.IsAdditionalHelpTopicCommand() {
			listed = append(listed, c)
		}
	}
	return listed
}

// commandManual is the manual page of a command: what its help says, and in the same words.
func commandManual(cmd *cobra.Command) []byte {
	cmd.InitDefaultHelpFlag()
	p := newManPage(pageName(cmd), 1, cmd.Short)
	p.section("SYNOPSIS")
	p.bold(cmd.UseLine())
	p.section("DESCRIPTION")
	p.help(cmp.Or(cmd.Long, cmd.Short))
	for _, options := range []struct {
		title string
		flags *pflag.FlagSet
	}{{"OPTIONS", cmd.NonInheritedFlags()}, {"OPTIONS OF ALL COMMANDS", cmd.InheritedFlags()}} {
		if !options.flags.HasAvailableFlags() {
			continue
		}
		p.section(options.title)
		options.flags.VisitAll(func(f *pflag.Flag) {
			if !f.Hidden && f.Deprecated == "" {
				p.item(optionText(f))
			}
		})
	}
	if cmd.HasExample() {
		p.section("EXAMPLE")
		p.help(cmd.Example)
	}
	var others []string
	if cmd.HasParent() {
		others = append(others, pageName(cmd.Parent())+"(1)")
	}
	for _, below := range listedCommands(cmd) {
		others = append(others, pageName(below)+"(1)")
	}
	if len(others) > 0 {
		p.section("SEE ALSO")
		p.text(strings.Join(others, ", "))
	}
	return p.Bytes()
}

// optionText is how an option is written, and what it means.
func optionText(f *pflag.Flag) (option, meaning string) {
	value, meaning := pflag.UnquoteUsage(f)
	option = "--" + f.Name
	if f.Shorthand != "" {
		option = "-" + f.Shorthand + ", " + option
	}
	if value != "" {
		option += " " + value
	}
	switch f.DefValue {
	case "", "0", "0s", "false", "[]":
	default:
		meaning += "; default " + f.DefValue
	}
	return option, meaning
}

// A describedFile is one of the two files that people write, which have a manual page and a help topic each.
type describedFile struct {
	name, short string
	keys        func() []config.Key
}

func describedFiles() []describedFile {
	return []describedFile{
		{"mirrors.json", "the list of mirrors", config.MirrorsKeys},
		{"mirrorpool.json", "the configuration of mirrorpool", config.ServerKeys},
	}
}

// newTopics returns a help topic for each file: a command that cannot be run.
func newTopics() (topics []*cobra.Command) {
	for _, f := range describedFiles() {
		topic := &cobra.Command{Use: f.name, Short: "The keys of " + f.short}
		topic.SetHelpFunc(func(cmd *cobra.Command, args []string) {
			cmd.Long = f.topic() // which is long, and not needed before
			cmd.Root().HelpFunc()(cmd, args)
		})
		topics = append(topics, topic)
	}
	return topics
}

// topic lists the keys for a terminal.
func (f describedFile) topic() string {
	var text strings.Builder
	fmt.Fprintf(&text, "The keys of %s, %s. It is JSON; \"[]\" stands for each item of a list.\n", f.name, f.short)
	for _, k := range f.keys() {
		fmt.Fprintf(&text, "\n%s\n    %s%s\n", k.Path, k.Want, byDefault(k))
		if k.Meaning != "" {
			fmt.Fprintf(&text, "    %s\n", k.Meaning)
		}
	}
	return strings.TrimSuffix(text.String(), "\n")
}

// manual is the manual page.
func (f describedFile) manual() []byte {
	p := newManPage(f.name, 5, f.short)
	p.section("KEYS")
	for _, k := range f.keys() {
		p.item(k.Path, strings.TrimSpace(k.Want+byDefault(k)+". "+k.Meaning))
	}
	p.section("SEE ALSO")
	p.text("mirrorpool(1), mirrorpool-check(1), mirrorpool-schema(1)")
	return p.Bytes()
}

func byDefault(k config.Key) string {
	if k.Default == "" {
		return ""
	}
	return "; default " + k.Default
}
