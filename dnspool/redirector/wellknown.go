package redirector

import (
	"bytes"
	"mime"
	"net/http"
	"net/url"
	"os"
	"path"
	"strings"
	"time"

	"mirrorpool/config/safefile"
)

// wellKnownRoot is what all paths of well-known files begin with, in this spelling alone.
const wellKnownRoot = "/" + wellKnown + "/"

// maxWellKnown bounds a well-known file, which is kept in memory while a client reads it.
const maxWellKnown = 64 << 10 // bytes

// CheckWellKnown returns an error if dir, unless it is empty, is no folder that can be opened.
func CheckWellKnown(dir string) error {
	if dir == "" {
		return nil
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	return root.Close()
}

// wellKnownFile returns the handler of a URL below /.well-known/, or nil for others and if none are served. A path in
// an unusual spelling is left to cleanPath, which refuses it.
func (h *Handler) wellKnownFile(u *url.URL) http.HandlerFunc {
	dir := h.inForce.Load().WellKnown
	name, ok := strings.CutPrefix(u.EscapedPath(), wellKnownRoot)
	if dir == "" || !ok || !consistsOf([]byte(name), "/.-_~+@") || path.Clean("/"+name) != "/"+name {
		return nil
	}
	return func(w http.ResponseWriter, r *http.Request) { sendWellKnown(w, r, dir, name) }
}

// sendWellKnown answers with a file in a folder.
func sendWellKnown(w http.ResponseWriter, r *http.Request, dir, name string) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		fail(w, http.StatusNotFound)
		return
	}
	defer root.Close()
	text, err := safefile.ReadIn(root, name, maxWellKnown)
	if err != nil {
		fail(w, http.StatusNotFound)
		return
	}
	contentType := mime.TypeByExtension(path.Ext(name))
	if contentType == "" {
		contentType = "application/octet-stream"
	}
	w.Header().Set("Content-Type", contentType)
	w.Header().Set("Cache-Control", "no-store") // a challenge is for one time
	w.Header().Set("X-Content-Type-Options", "nosniff")
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(text))
}
