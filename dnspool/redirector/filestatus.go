package redirector

import (
	"context"
	"errors"
	"io/fs"

	"mirrorpool/dnspool"
	"mirrorpool/health/files"
)

// FileStatus returns which mirrors carry the file at a path, without escapes. Mirrors of which that is not known are asked,
// as far as the limits of questions allow, until ctx ends.
func (h *Handler) FileStatus(ctx context.Context, path string) files.FileStatus {
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
		return !errors.Is(h.Catalog.Publishes(ctx, path), fs.ErrNotExist)
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
	for len(list) > 0 && ctx.Err() == nil {
		n := min(len(list), files.MaxAsked)
		h.Catalog.AskEach(ctx, path, list[:n])
		list = list[n:]
	}
}
