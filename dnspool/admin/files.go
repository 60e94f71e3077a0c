package admin

import (
	"fmt"
	"net/http"
	"strings"
	"time"

	"mirrorpool/health/files"
)

// maxPaths is how many files one request may ask about.
const maxPaths = 100

// showFiles handles GET /api/v1/files?path=PATH&path=PATH...
func showFiles(b Backend) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		paths := r.URL.Query()["path"]
		if len(paths) == 0 || len(paths) > maxPaths {
			http.Error(w, fmt.Sprintf("want path=PATH, 1 to %d times", maxPaths), http.StatusBadRequest)
			return
		}
		writeJSON(w, b.Files(r.Context(), paths))
	}
}

// showLacks handles GET /api/v1/lacks?mirror=MIRROR.
func showLacks(b Backend) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		lacks, ok := b.Lacks(r.Context(), r.URL.Query().Get("mirror"))
		if !ok {
			http.Error(w, "no mirror of that url_prefix, name or host is in the pool", http.StatusNotFound)
			return
		}
		writeJSON(w, lacks)
	}
}

// fileFamilies describe the files of the mirrors.
var fileFamilies = []family{
	{"files", "Files that the origin publishes, or that mirrors list together.", nil,
		func(s *Status, b *gaugeBuffer) { b.add(float64(s.Files.Files)) }},
	{"files_origin_error", "1 if the last attempt to read files.origin failed.", nil,
		func(s *Status, b *gaugeBuffer) { b.add(number(s.Files.OriginProblem != "")) }},
	mirrorFilesFamily("mirror_files", "Of those files, how many a mirror carries.",
		func(s *Status, m *files.MirrorFiles) (float64, bool) {
			return float64(s.Files.Files - m.Lacks - m.Unknown), m.Known
		}),
	mirrorFilesFamily("mirror_files_lacking", "Of those files, how many a mirror is known to lack.",
		func(_ *Status, m *files.MirrorFiles) (float64, bool) { return float64(m.Lacks), m.Known }),
	mirrorFilesFamily("mirror_files_listed_timestamp_seconds",
		"When all files of a mirror were last listed, in seconds since 1970.",
		func(_ *Status, m *files.MirrorFiles) (float64, bool) {
			return float64(m.Listed.Unix()), !m.Listed.IsZero()
		}),
	mirrorFilesFamily("mirror_files_listing_error", "1 if the last attempt to list a mirror's files failed.",
		func(_ *Status, m *files.MirrorFiles) (float64, bool) {
			return number(m.Problem != ""), !m.Listed.IsZero()
		}),
}

// mirrorFilesFamily is the family of a value of each mirror, where it is known.
func mirrorFilesFamily(name, help string, value func(s *Status, m *files.MirrorFiles) (v float64, known bool)) family {
	return family{name, help, []string{"mirror"}, func(s *Status, b *gaugeBuffer) {
		for prefix, m := range s.Files.Mirrors {
			if v, known := value(s, &m); known {
				b.add(v, strings.ToValidUTF8(prefix, "\uFFFD"))
			}
		}
	}}
}

// ReleaseLines say how far the release has come: a line on the whole, and one for each of some files.
func (s *Status) ReleaseLines(now time.Time, most int) []string {
	r := &s.Files.Release
	if r.Count == 0 {
		return nil
	}
	var what string
	switch {
	case !r.Since.IsZero():
		what = plural(r.Count, "new file", "new files") + " since " + Ago(r.Since, now)
	case r.Count == 1:
		what = "The newest file"
	default:
		what = fmt.Sprintf("The newest %d files", r.Count)
	}
	lines := []string{fmt.Sprintf("%s: complete on %d of %d enabled mirrors, with %d of the weight %d.",
		what, r.Complete, r.Enabled, r.Weight, r.Whole)}
	for i := range r.Files[:min(len(r.Files), most)] {
		f := &r.Files[i]
		line := fmt.Sprintf("%s: %s, weight %d", f.Path, plural(f.Mirrors, "mirror", "mirrors"), f.Weight)
		if few := f.Missing[:min(len(f.Missing), 3)]; len(few) > 0 {
			line += "; missing or unknown on " + strings.Join(few, ", ")
			if more := r.Enabled - f.Mirrors - len(few); more > 0 {
				line += fmt.Sprintf(" and %d more", more)
			}
		}
		lines = append(lines, line)
	}
	return lines
}
