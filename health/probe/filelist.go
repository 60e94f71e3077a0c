package probe

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"mirrorpool/health/files"
	"mirrorpool/health/rsync"
)

const (
	dialTime     = 10 * time.Second
	maxListBytes = 1 << 30 // that a daemon may send for one listing
)

// ListMirror lists the files that a mirror's rsync daemon has at the address where it was last reached: those with the
// given names, or if that is nil, all.
func ListMirror(
	ctx context.Context, m *files.Mirror, part *files.Part, each func(path string, size int64, modified uint32) error,
) error {
	u, err := rsync.ParseURL(m.RsyncURL)
	if err != nil {
		return err
	}
	tree := rsync.Tree{Module: u.Module, Path: u.Path, FollowLinks: true, MaxEntries: files.MaxFiles, MaxBytes: maxListBytes}
	if part != nil {
		tree.Rules = rsync.Only(part.Files, part.Folders)
	}
	dial := func(ctx context.Context) (conn, error) { return dialAddress(ctx, m.Rsync, u.Port) }
	return listTree(ctx, dial, tree, func(e rsync.Entry) error {
		if e.Folder {
			return nil
		}
		return each(e.Path, e.Size, e.Time)
	})
}

// listTree lists a tree, without following symbolic links if the daemon refuses that option.
func listTree(ctx context.Context, dial func(context.Context) (conn, error), tree rsync.Tree, each func(rsync.Entry) error) error {
	err := listOnce(ctx, dial, tree, each)
	if errors.Is(err, rsync.ErrRefused) && tree.FollowLinks && strings.Contains(err.Error(), "refuse") {
		tree.FollowLinks = false
		return listOnce(ctx, dial, tree, each)
	}
	return err
}

func listOnce(ctx context.Context, dial func(context.Context) (conn, error), tree rsync.Tree, each func(rsync.Entry) error) error {
	dialCtx, cancel := context.WithTimeout(ctx, dialTime)
	c, err := dial(dialCtx)
	cancel()
	if err != nil {
		return fmt.Errorf("connecting: %s", describe(err))
	}
	defer c.Close()
	return rsync.List(ctx, c, tree, each)
}
