package main

import (
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"mirrorpool/config"
)

// checkFlags are the flags of check.
type checkFlags struct {
	strict   bool
	textOnly bool
	as       string
	allow    []string
	format   checkFormat
}

func newCheckCommand() *cobra.Command {
	flags := checkFlags{format: formatText}
	cmd := &cobra.Command{
		Use:   "check FILE...",
		Short: "Validate mirrors.json or mirrorpool.json files",
		Long: `Validate files of either kind, mirrors.json or mirrorpool.json, and print what is wrong with them:

  file:line:column: /json/pointer: what is wrong, what would be right

"-" reads standard input. Given files of both kinds, check also looks for names in the one that the other uses for
something else. It opens what a mirrorpool.json names, as the server would: the list of mirrors, the zone file, keys,
the token, the certificate, databases and state_dir. --text-only leaves them alone, for a CI that does not have them.

Warnings of one kind share a line, which ends in the kind's name. They count with --strict only.
--format json, github and gitlab list each one, for the CI of the repository in which mirrors.json is kept.

The exit code is 0 if all files are valid, and 2 if one is not.`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, files []string) error {
			if unknown := unknownKind(flags.allow); unknown != "" {
				return fmt.Errorf("--allow %s: no such kind of warning; want one of %v", unknown, config.WarningKinds())
			}
			if flags.as != "" {
				return runAs(cmd, flags.as)
			}
			report := checkFiles(files, cmd.InOrStdin(), &flags)
			if err := report.write(&flags, cmd.OutOrStdout(), cmd.ErrOrStderr()); err != nil {
				return failed(err)
			}
			if !report.valid() {
				return &failure{code: exitUsage}
			}
			return nil
		},
	}
	f := cmd.Flags()
	f.BoolVar(&flags.strict, "strict", false, "take warnings for errors")
	f.BoolVar(&flags.textOnly, "text-only", false, "do not open the files that a mirrorpool.json names")
	f.StringVar(&flags.as, "as", "", "check as this `USER`, with whose rights the server will run; needs root")
	f.StringSliceVar(&flags.allow, "allow", nil, "leave out warnings of this `KIND`; may be repeated")
	f.Var(&flags.format, "format", "text, json, github (annotations) or gitlab (code quality report)")
	return cmd
}

// unknownKind returns the first of names that is no kind of warning, or "".
func unknownKind(names []string) string {
	for _, name := range names {
		if !slices.Contains(config.WarningKinds(), config.WarningKind(name)) {
			return name
		}
	}
	return ""
}

// A checkReport is what is wrong with some files.
type checkReport struct {
	files    []checkedFile
	findings []finding
}

// A checkedFile is a file and its kind, which is empty if the file is too broken to tell.
type checkedFile struct {
	name  string
	kind  config.Kind
	valid bool
}

// A finding is an error or a warning.
type finding struct {
	*config.Error
	isError bool
}

func (r *checkReport) valid() bool {
	return !slices.ContainsFunc(r.files, func(f checkedFile) bool { return !f.valid })
}

// A checkInput is one file with its text. err says why it cannot be read, or is not JSON.
type checkInput struct {
	name   string
	text   []byte
	kind   config.Kind
	server *config.Server // of a valid mirrorpool.json
	err    error
}

// checkFiles checks all files, and the lists of mirrors that they name. Lists are checked as each of the servers among
// the files would have them.
func checkFiles(names []string, stdin io.Reader, flags *checkFlags) *checkReport {
	var inputs []checkInput
	for _, name := range names {
		inputs = append(inputs, readInput(name, stdin))
	}
	if !flags.textOnly {
		inputs = append(inputs, namedLists(inputs)...)
	}
	var zones []config.DNS
	for i := range inputs {
		if s := inputs[i].server; s != nil {
			zones = append(zones, s.DNS)
		}
	}
	report := &checkReport{}
	for i := range inputs {
		in := &inputs[i]
		warnings, err := in.check(zones)
		errs := config.Errors(err)
		if in.server != nil && !flags.textOnly {
			errs = append(errs, openErrors(in)...)
			warnings = append(warnings, openWarnings(in)...)
		}
		report.add(in, errs, warnings, flags)
	}
	return report
}

// readInput reads a file, or stdin if it is called "-", and finds out its kind. A nil stdin makes "-" a file, too.
func readInput(name string, stdin io.Reader) checkInput {
	in := checkInput{name: name}
	if name == "-" && stdin != nil {
		in.name = "(standard input)"
		in.text, in.err = io.ReadAll(io.LimitReader(stdin, config.MaxFileSize+1)) // one more than is accepted
	} else {
		in.text, in.err = config.ReadFile(name)
	}
	if in.err == nil {
		in.kind, in.err = config.KindOf(in.name, in.text)
	}
	if in.err == nil && in.kind == config.KindServer {
		in.server, _, _ = config.ParseServer(in.name, in.text) // check reports what is wrong
	}
	return in
}

// namedLists reads the lists of mirrors that servers among inputs read from a file, without those that are among inputs
// themselves. One that cannot be read is left to openErrors.
func namedLists(inputs []checkInput) []checkInput {
	known := make(map[string]bool)
	for i := range inputs {
		known[filepath.Clean(inputs[i].name)] = true
	}
	var lists []checkInput
	for i := range inputs {
		s := inputs[i].server
		if s == nil || strings.Contains(s.Mirrors, "://") || known[filepath.Clean(s.Mirrors)] {
			continue
		}
		known[filepath.Clean(s.Mirrors)] = true
		if in := readInput(s.Mirrors, nil); in.text != nil {
			in.kind = config.KindPool // whatever it looks like
			lists = append(lists, in)
		}
	}
	return lists
}

// check parses the input. A list is parsed for all zones, up to the first that it does not fit; one that no server
// accepts, because it enables no mirror, is an error here too.
func (in *checkInput) check(zones []config.DNS) (warnings []*config.Error, err error) {
	if in.err != nil {
		return nil, in.err
	}
	if in.kind == config.KindServer {
		_, warnings, err = config.ParseServer(in.name, in.text)
		return warnings, err
	}
	_, warnings, err = config.ParsePool(in.name, in.text)
	for _, zone := range zones {
		if err == nil {
			_, warnings, err = config.ParsePoolIn(in.name, in.text, zone)
		}
	}
	noneEnabled := func(w *config.Error) bool { return w.Kind == config.WarnNoneEnabled }
	if i := slices.IndexFunc(warnings, noneEnabled); i >= 0 && err == nil {
		refused := *warnings[i]
		refused.Kind = ""
		err = &refused
		warnings = slices.Delete(warnings, i, i+1)
	}
	return warnings, err
}

// add files what was found about an input.
func (r *checkReport) add(in *checkInput, errs, warnings []*config.Error, flags *checkFlags) {
	warnings = slices.DeleteFunc(warnings, func(w *config.Error) bool { return slices.Contains(flags.allow, string(w.Kind)) })
	for _, w := range warnings {
		r.findings = append(r.findings, finding{w, flags.strict})
	}
	for _, e := range errs {
		r.findings = append(r.findings, finding{e, true})
	}
	valid := len(errs) == 0 && (!flags.strict || len(warnings) == 0)
	r.files = append(r.files, checkedFile{in.name, in.kind, valid})
}

// severity is the word that CI systems use.
func (f finding) severity() string {
	if f.isError {
		return "error"
	}
	return "warning"
}

// message is the text without the place in the file, but with the place in the document.
func (f finding) message() string {
	if f.Pointer == "" {
		return config.Printable(f.Err.Error())
	}
	return config.Printable(fmt.Sprintf("%s: %v", f.Pointer, f.Err))
}
