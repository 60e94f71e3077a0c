package probing

import (
	"context"
	"time"

	"mirrorpool/config"
	"mirrorpool/health"
	"mirrorpool/health/files"
	"mirrorpool/health/probe"
)

// compareTime bounds how long the mirrors are listed and the origin is read.
const compareTime = 5 * time.Minute

// Files is what a mirror has of the files that the origin publishes.
type Files struct {
	Published int      `json:"published"` // files of the origin
	Lacking   int      `json:"lacking"`   // of these, or of another size
	Names     []string `json:"names"`     // of some that it lacks
	Problem   string   `json:"problem"`   // why nothing is known, or ""
}

// CompareFiles has Run compare what the mirrors list over rsync with what the origin publishes.
func (p *Plan) CompareFiles(c config.Files) { p.files = c }

// compareFiles returns what the mirrors shown have of the origin's files, by url_prefix; nil if that is not asked for.
func (p *Plan) compareFiles(ctx context.Context, report *health.Report) map[string]*Files {
	if p.files.Origin == "" {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, compareTime)
	defer cancel()
	results := map[string]*Files{}
	trees := map[string]*files.Tree{}
	for i := range p.shown.Mirrors {
		m := &p.shown.Mirrors[i]
		if m.RsyncURL == "" {
			continue
		}
		tree := &files.Tree{}
		results[m.URLPrefix] = &Files{Names: []string{}}
		if err := listMirror(ctx, m, report, tree); err != nil {
			results[m.URLPrefix].Problem = err.Error()
		} else {
			trees[m.URLPrefix] = tree
		}
	}
	if len(trees) > 0 {
		p.readOrigin(ctx, trees, results)
	}
	return results
}

// listMirror lists a mirror's files.
func listMirror(ctx context.Context, m *config.Mirror, report *health.Report, tree *files.Tree) error {
	seen := files.Mirror{URLPrefix: m.URLPrefix, RsyncURL: m.RsyncURL}
	if daemon := report.Mirrors[m.URLPrefix].Rsync; daemon != nil {
		seen.Rsync = daemon.Address
	}
	return probe.ListMirror(ctx, &seen, nil, tree.Add)
}

// readOrigin compares the trees with the origin.
func (p *Plan) readOrigin(ctx context.Context, trees map[string]*files.Tree, results map[string]*Files) {
	origin := probe.NewOrigin(nil, func() string { return p.settings.UserAgent })
	read := func(ctx context.Context, c *files.Collector) error { return origin.Read(ctx, p.files.Origin, c) }
	list := make([]*files.Tree, 0, len(trees))
	for _, tree := range trees {
		list = append(list, tree)
	}
	err := files.Compare(ctx, p.files.Rewritten, read, list)
	for prefix, tree := range trees {
		if err != nil {
			results[prefix].Problem = "reading files.origin: " + err.Error()
			continue
		}
		c := tree.Comparison()
		results[prefix].Published, results[prefix].Lacking = c.Published, c.Lacking
		results[prefix].Names = append(results[prefix].Names, c.Names...)
	}
}

// text says what the mirror lacks.
func (f *Files) text() string {
	if f.Problem != "" {
		return "its files are not known: " + f.Problem
	}
	return (&files.Comparison{Published: f.Published, Lacking: f.Lacking, Names: f.Names}).String()
}
