package redirector

import (
	"context"
	"time"

	"golang.org/x/sync/errgroup"

	"mirrorpool/dnspool"
	"mirrorpool/health/files"
)

// Bounds of the work for a list of files: the admin server has 10 s for its answer. At a time, so many files are asked
// for.
const (
	fileStatusTime  = 5 * time.Second
	filesSideBySide = 10
)

// FileStatuses returns which mirrors carry the files at some paths: those of which it is not known are asked, within a
// few seconds in all.
func (h *Handler) FileStatuses(ctx context.Context, paths []string) []files.FileStatus {
	ctx, cancel := context.WithTimeout(ctx, fileStatusTime)
	defer cancel()
	list := make([]files.FileStatus, len(paths))
	var group errgroup.Group
	group.SetLimit(filesSideBySide)
	for i, path := range paths {
		group.Go(func() error {
			list[i] = h.fileStatus(ctx, path)
			return nil
		})
	}
	_ = group.Wait() // none fails
	return list
}

// fileStatus returns which mirrors carry the file at a path, without escapes. Mirrors of which that is not known are
// asked, as far as the limits of questions allow, until ctx ends.
func (h *Handler) fileStatus(ctx context.Context, path string) files.FileStatus {
	status := files.FileStatus{Path: path, Mirrors: []files.FileMirror{}}
	snapshot := h.Current.Load()
	if snapshot == nil || h.Catalog == nil {
		return status
	}
	status.Published = h.published(ctx, path)
	h.askAll(ctx, snapshot, path)
	copies := h.Catalog.Copies(path)
	for i := range snapshot.Mirrors {
		m := &snapshot.Mirrors[i]
		if !m.Enabled() {
			continue
		}
		copy, ok := copies[m.URLPrefix]
		if !ok {
			copy.State = files.CopyUnknown
		}
		status.Mirrors = append(status.Mirrors, files.FileMirror{URLPrefix: m.URLPrefix, Weight: m.Weight, Eligible: m.InWeb, Copy: copy})
	}
	return status
}

// published reports whether the origin has a path, as far as is known.
func (h *Handler) published(ctx context.Context, path string) bool {
	switch h.Catalog.Find(path, h.Now()).Status {
	case files.Published:
		return true
	case files.Unpublished:
		return h.Catalog.Publishes(ctx, path) == nil
	}
	return false
}

// encodedPath returns a plain path as a URL has it.
func encodedPath(plain string) string {
	return percentEncode(plain, func(c byte) bool { return inPath(c) && c != '%' && c != '?' })
}

// askAll asks all mirrors for a file of which it is not known whether they carry it.
func (h *Handler) askAll(ctx context.Context, snapshot *dnspool.Snapshot, path string) {
	var list []files.Candidate
	k := h.Catalog.Find(path, h.Now())
	for i := range snapshot.Mirrors {
		m := &snapshot.Mirrors[i]
		if addr, ok := upAddress(m); ok && m.Enabled() && files.Contains(k.Unknown, m.Number) {
			list = append(list, candidate(m, addr, encodedPath(path)))
		}
	}
	h.Catalog.AskEach(ctx, path, list)
}
