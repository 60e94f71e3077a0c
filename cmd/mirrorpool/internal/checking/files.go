// Package checking validates mirrors.json and mirrorpool.json files for the command check.
//
//	files.go   what is in the files
//	open.go    what a mirrorpool.json names, opened as a server would
//	acme.go    whether certificates can be obtained
//	format.go  how the findings are written
package checking

import (
	"fmt"
	"io"
	"net/url"
	"path/filepath"
	"slices"
	"strings"

	"mirrorpool/config"
)

// Options say what is checked, and how the findings are written.
type Options struct {
	Strict   bool     // warnings count as errors
	TextOnly bool     // the files that a mirrorpool.json names are not opened
	Allow    []string // kinds of warnings that are left out
	Format   Format
}

// A Report is what is wrong with some files.
type Report struct {
	options  Options
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

// Valid reports whether all files are valid.
func (r *Report) Valid() bool {
	return !slices.ContainsFunc(r.files, func(f checkedFile) bool { return !f.valid })
}

// A input is one file with its text. err says why it cannot be read, or is not JSON.
type input struct {
	name   string
	text   []byte
	kind   config.Kind
	server *config.Server // of a valid mirrorpool.json
	err    error
}

// Files checks all files, and the lists of mirrors that they name. Lists are checked as each of the servers among
// the files would have them.
func Files(names []string, stdin io.Reader, o Options) *Report {
	var inputs []input
	for _, name := range names {
		inputs = append(inputs, readInput(name, stdin))
	}
	if !o.TextOnly {
		inputs = append(inputs, namedLists(inputs)...)
	}
	var zones []config.DNS
	for i := range inputs {
		if s := inputs[i].server; s != nil {
			zones = append(zones, s.DNS)
		}
	}
	report := &Report{options: o}
	for i := range inputs {
		in := &inputs[i]
		warnings, err := in.check(zones)
		errs := config.Errors(err)
		if in.server != nil && !o.TextOnly {
			errs = append(errs, openErrors(in)...)
			warnings = append(warnings, openWarnings(in)...)
			warnings = append(warnings, fallbackWarnings(in, inputs)...)
		}
		report.add(in, errs, warnings)
	}
	return report
}

// readInput reads a file, or stdin if it is called "-", and finds out its kind. A nil stdin makes "-" a file, too.
func readInput(name string, stdin io.Reader) input {
	in := input{name: name}
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
func namedLists(inputs []input) []input {
	known := make(map[string]bool)
	for i := range inputs {
		known[filepath.Clean(inputs[i].name)] = true
	}
	var lists []input
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
func (in *input) check(zones []config.DNS) (warnings []*config.Error, err error) {
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
func (r *Report) add(in *input, errs, warnings []*config.Error) {
	warnings = slices.DeleteFunc(warnings, func(w *config.Error) bool { return slices.Contains(r.options.Allow, string(w.Kind)) })
	for _, w := range warnings {
		r.findings = append(r.findings, finding{w, r.options.Strict})
	}
	for _, e := range errs {
		r.findings = append(r.findings, finding{e, true})
	}
	valid := len(errs) == 0 && (!r.options.Strict || len(warnings) == 0)
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

// fallbackWarnings warns of a server whose fallback is on the host of a mirror: what clients verify files by would come
// from one that may have altered them.
func fallbackWarnings(server *input, inputs []input) (list []*config.Error) {
	fallback, err := url.Parse(server.server.Files.Fallback)
	if err != nil || fallback.Host == "" {
		return nil
	}
	for i := range inputs {
		if inputs[i].kind != config.KindPool {
			continue
		}
		pool, _, err := config.ParsePool(inputs[i].name, inputs[i].text)
		if err != nil {
			continue // which is reported by itself
		}
		for k := range pool.Mirrors {
			if m := &pool.Mirrors[k]; m.URL.Host == fallback.Host {
				w := config.ErrorAt(server.name, server.text, "/files/fallback", fmt.Errorf("it is on the host of the mirror %s, which "+
					"would serve what clients verify files by; want a host of the project", m.URLPrefix))
				w.Kind = config.WarnUnverified
				list = append(list, w)
			}
		}
	}
	return list
}
