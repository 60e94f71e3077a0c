package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/cpuguy83/go-md2man/v2/md2man"
	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"

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
	version, _ := build()
	root.DisableAutoGenTag = true
	if err := doc.GenManTree(root, &doc.GenManHeader{Section: "1", Source: "mirrorpool " + version, Manual: "mirrorpool"},
		commands); err != nil {
		return err
	}
	for _, f := range describedFiles() {
		if err := os.WriteFile(filepath.Join(files, f.name+".5"), md2man.Render([]byte(f.manual())), 0o644); err != nil {
			return err
		}
	}
	return nil
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

// manual is the manual page in Markdown.
func (f describedFile) manual() string {
	var text strings.Builder
	fmt.Fprintf(&text, "%% %s 5\n\n# NAME\n\n%s - %s\n\n# KEYS\n\n", strings.ToUpper(f.name), f.name, f.short)
	for _, k := range f.keys() {
		fmt.Fprintf(&text, "**%s**\n: %s\n\n", escapeMarkdown(k.Path),
			escapeMarkdown(strings.TrimSpace(k.Want+byDefault(k)+". "+k.Meaning)))
	}
	text.WriteString("# SEE ALSO\n\nmirrorpool(1), mirrorpool-check(1), mirrorpool-schema(1)\n")
	return text.String()
}

func byDefault(k config.Key) string {
	if k.Default == "" {
		return ""
	}
	return "; default " + k.Default
}

// escapeMarkdown keeps a text from being read as Markdown.
func escapeMarkdown(text string) string {
	return strings.NewReplacer("*", `\*`, "_", `\_`, "<", `\<`, "[", `\[`, "]", `\]`, "`", "\\`").Replace(text)
}
