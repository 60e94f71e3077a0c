package checking

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"slices"
	"strings"

	"mirrorpool/cmd/mirrorpool/internal/term"
	"mirrorpool/config"
)

// A Format is how findings are written.
type Format string

// The formats: for people, for programs, and for the CI systems of GitHub and GitLab.
const (
	Text   Format = "text"
	JSON   Format = "json"
	GitHub Format = "github"
	GitLab Format = "gitlab"
)

// String returns the format. With Set and Type it makes a Format a flag.
func (f *Format) String() string { return string(*f) }

// Set takes one of the formats.
func (f *Format) Set(s string) error {
	if known := []Format{Text, JSON, GitHub, GitLab}; !slices.Contains(known, Format(s)) {
		return fmt.Errorf("want one of %v", known)
	}
	*f = Format(s)
	return nil
}

// Type says what to write after the flag.
func (f *Format) Type() string { return "FORMAT" }

// Write writes the report. What programs read goes to stdout.
func (r *Report) Write(stdout, stderr io.Writer) error {
	switch r.options.Format {
	case JSON:
		return r.writeJSON(stdout)
	case GitHub:
		return r.writeGitHub(stdout)
	case GitLab:
		return r.writeGitLab(stdout)
	default:
		return r.writeText(stdout, stderr)
	}
}

func (r *Report) writeText(stdout, stderr io.Writer) error {
	red, yellow, plain := "", "", ""
	if term.Colours(stderr) {
		red, yellow, plain = term.Red, term.Yellow, term.Plain
	}
	var warnings []*config.Error
	for _, f := range r.findings {
		if f.Kind != "" {
			warnings = append(warnings, f.Error)
		} else if _, err := fmt.Fprintf(stderr, "%s%v%s\n", red, f.Error, plain); err != nil {
			return err
		}
	}
	format := yellow + "warning:" + plain + " %v\n"
	if r.options.Strict {
		format = red + "%v" + plain + "\n"
	}
	for _, group := range config.GroupWarnings(warnings) {
		if _, err := fmt.Fprintf(stderr, format, group); err != nil {
			return err
		}
	}
	for _, f := range r.files {
		if f.valid {
			if _, err := fmt.Fprintf(stdout, "%s: valid %s\n", config.Printable(f.name), f.kind); err != nil {
				return err
			}
		}
	}
	return nil
}

func (r *Report) writeJSON(w io.Writer) error {
	type entry struct {
		File     string `json:"file"`
		Line     int    `json:"line"` // 0: the file could not be read
		Column   int    `json:"column"`
		Pointer  string `json:"pointer"` // RFC 6901
		Severity string `json:"severity"`
		Message  string `json:"message"`
		Kind     string `json:"kind,omitempty"` // of a warning, for --allow
	}
	list := []entry{}
	for _, f := range r.findings {
		list = append(list, entry{f.File, f.Line, f.Column, f.Pointer, f.severity(), f.Err.Error(), string(f.Kind)})
	}
	return term.WriteJSON(w, list)
}

// writeGitHub writes annotations, which GitHub shows in the lines that a change is about:
// https://docs.github.com/en/actions/reference/workflow-commands-for-github-actions
func (r *Report) writeGitHub(w io.Writer) error {
	text := strings.NewReplacer("%", "%25") // all else that a message must not have is escaped already
	property := strings.NewReplacer("%", "%25", ":", "%3A", ",", "%2C")
	for _, f := range r.findings {
		title := ""
		if f.Kind != "" {
			title = ",title=" + string(f.Kind)
		}
		_, err := fmt.Fprintf(w, "::%s file=%s,line=%d,col=%d%s::%s\n", f.severity(), property.Replace(config.Printable(f.File)),
			max(1, f.Line), max(1, f.Column), title, text.Replace(f.message()))
		if err != nil {
			return err
		}
	}
	return nil
}

// writeGitLab writes a code quality report: https://docs.gitlab.com/ci/testing/code_quality/
func (r *Report) writeGitLab(w io.Writer) error {
	type lines struct {
		Begin int `json:"begin"`
	}
	type location struct {
		Path  string `json:"path"`
		Lines lines  `json:"lines"`
	}
	type entry struct {
		Description string   `json:"description"`
		CheckName   string   `json:"check_name"`
		Fingerprint string   `json:"fingerprint"`
		Severity    string   `json:"severity"`
		Location    location `json:"location"`
	}
	list := []entry{}
	for _, f := range r.findings {
		severity := "minor"
		if f.isError {
			severity = "major"
		}
		// GitLab compares fingerprints to tell new problems from old ones, so no line number is in it.
		sum := sha256.Sum256([]byte(f.File + "\x00" + f.message()))
		at := location{f.File, lines{max(1, f.Line)}}
		list = append(list, entry{f.message(), checkName(f.Kind), hex.EncodeToString(sum[:]), severity, at})
	}
	return term.WriteJSON(w, list)
}

// checkName is the name of the check that a finding comes from.
func checkName(kind config.WarningKind) string {
	if kind == "" {
		return "mirrorpool"
	}
	return "mirrorpool/" + string(kind)
}
