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

// challengeFolder begins the names of the answers to HTTP-01 challenges (RFC 8555 section 8.3).
const challengeFolder = "acme-challenge/"

// wellKnownFile returns the handler of a URL below /.well-known/, or nil for others and if none are served. A path in
// an unusual spelling is left to cleanPath, which refuses it.
func (h *Handler) wellKnownFile(u *url.URL) http.HandlerFunc {
	dir := h.inForce.Load().WellKnown
	name, ok := strings.CutPrefix(u.EscapedPath(), wellKnownRoot)
	if !ok || !consistsOf([]byte(name), "/.-_~+@") || path.Clean("/"+name) != "/"+name {
		return nil
	}
	if token, ok := strings.CutPrefix(name, challengeFolder); ok && h.ACME != nil {
		if answer, ok := h.ACME.KeyAuthorization(token); ok {
			return func(w http.ResponseWriter, r *http.Request) { sendFile(w, r, "", []byte(answer)) }
		}
	}
	if dir == "" {
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
	sendFile(w, r, name, text)
}

// sendFile answers with text, the content of a file of a name.
func sendFile(w http.ResponseWriter, r *http.Request, name string, text []byte) {
	contentType := mime.TypeByExtension(path.Ext(name))
	if contentType == "" {
		contentType = "application/octet-stream"
	}
	w.Header().Set("Content-Type", contentType)
	w.Header().Set("Cache-Control", "no-store") // a challenge is for one time
	w.Header().Set("X-Content-Type-Options", "nosniff")
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(text))
}
