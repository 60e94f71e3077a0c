package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"mirrorpool/config"
)

func newCheckCommand() *cobra.Command {
	var strict bool
	format := formatText
	cmd := &cobra.Command{
		Use:   "check FILE...",
		Short: "Validate mirrors.json or mirrorpool.json files",
		Long: `Validate files of either kind, mirrors.json or mirrorpool.json, and print what is wrong with them:

  file:line:column: /json/pointer: what is wrong, what would be right

Given files of both kinds, it also looks for names in the one that the other uses for something else.

The exit code is 0 if all files are valid, and 2 if one is not. Warnings count with --strict only.
--format json, github and gitlab are for the CI of the repository in which mirrors.json is kept.`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, files []string) error {
			report := checkFiles(files, strict)
			if err := report.write(format, cmd.OutOrStdout(), cmd.ErrOrStderr()); err != nil {
				return failed(err)
			}
			if !report.valid() {
				return &failure{code: exitUsage}
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&strict, "strict", false, "take warnings for errors")
	cmd.Flags().Var(&format, "format", "text, json, github (annotations) or gitlab (code quality report)")
	return cmd
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
	for _, f := range r.files {
		if !f.valid {
			return false
		}
	}
	return true
}

// checkFiles checks all files. Those of the pool are checked as the servers among the others would have them.
func checkFiles(names []string, strict bool) *checkReport {
	texts := make([][]byte, len(names))
	kinds := make([]config.Kind, len(names))
	readErrors := make([]error, len(names))
	var zones []config.DNS
	for i, name := range names {
		if texts[i], readErrors[i] = config.ReadFile(name); readErrors[i] != nil {
			continue
		}
		kinds[i], readErrors[i] = config.KindOf(name, texts[i])
		if kinds[i] != config.KindServer || readErrors[i] != nil {
			continue
		}
		if server, _, err := config.ParseServer(name, texts[i]); err == nil {
			zones = append(zones, server.DNS)
		}
	}
	report := &checkReport{}
	for i, name := range names {
		var warnings []*config.Error
		err := readErrors[i]
		switch {
		case err != nil:
		case kinds[i] == config.KindServer:
			_, warnings, err = config.ParseServer(name, texts[i])
		default:
			warnings, err = checkPool(name, texts[i], zones)
		}
		for _, w := range warnings {
			report.findings = append(report.findings, finding{w, strict})
		}
		for _, e := range config.Errors(err) {
			report.findings = append(report.findings, finding{e, true})
		}
		report.files = append(report.files, checkedFile{name, kinds[i], err == nil && !(strict && len(warnings) > 0)})
	}
	return report
}

// checkPool checks a pool for all zones, up to the first that it does not fit.
func checkPool(name string, text []byte, zones []config.DNS) (warnings []*config.Error, err error) {
	_, warnings, err = config.ParsePool(name, text)
	for _, zone := range zones {
		if err == nil {
			_, warnings, err = config.ParsePoolIn(name, text, zone)
		}
	}
	return warnings, err
}

// severity is how CI systems call it.
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
