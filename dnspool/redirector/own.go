package redirector

import (
	"io"
	"net/http"
)

// Paths of what is served here for its own sake, whatever the base path is.
const (
	legacyPath = "/mirrors.json"
	robotsPath = "/robots.txt"
	iconPath   = "/favicon.ico"
)

const (
	// Crawlers would follow each link of each mirror.
	robots = "User-agent: *\nDisallow: /\n"
	// One source, and what it leads to.
	icon = `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 16 16" fill="none" stroke="#56347c" stroke-width="1.6">` +
		`<path d="M4 8h8M4 8l8-5M4 8l8 5"/><g fill="#56347c"><circle cx="3" cy="8" r="1.6"/>` +
		`<circle cx="13" cy="3" r="1.6"/><circle cx="13" cy="8" r="1.6"/><circle cx="13" cy="13" r="1.6"/></g></svg>` + "\n"
)

// ownWhat says what is at these paths.
var ownWhat = map[string]string{ // must not be changed
	legacyPath: "the list of mirrors", robotsPath: "what robots may follow", iconPath: "an icon",
}

// own returns what answers requests for an escaped path that is no file of the mirrors; nil for all other paths.
func (h *Handler) own(path string) http.HandlerFunc {
	switch unescape(path) {
	case legacyPath:
		return h.serveLegacyList
	case robotsPath:
		return textFile("text/plain; charset=utf-8", robots)
	case iconPath:
		return textFile("image/svg+xml", icon)
	}
	return nil
}

func textFile(contentType, text string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		header := w.Header()
		header.Set("Content-Type", contentType)
		header.Set("Cache-Control", "public, max-age=86400")
		header.Set("X-Content-Type-Options", "nosniff")
		io.WriteString(w, text) // the client's going away is its own affair
	}
}
