package redirector

import (
	"io"
	"net/http"
	"net/url"
)

// Paths that the redirector answers itself, whatever the base path is.
const (
	legacyPath = "/mirrors.json"
	robotsPath = "/robots.txt"
	iconPath   = "/favicon.ico"
)

const (
	// Without it, crawlers would follow each link to each mirror.
	robots = "User-agent: *\nDisallow: /\n"
	// One source that leads to three mirrors.
	icon = `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 16 16" fill="none" stroke="#56347c" stroke-width="1.6">` +
		`<path d="M4 8h8M4 8l8-5M4 8l8 5"/><g fill="#56347c"><circle cx="3" cy="8" r="1.6"/>` +
		`<circle cx="13" cy="3" r="1.6"/><circle cx="13" cy="8" r="1.6"/><circle cx="13" cy="13" r="1.6"/></g></svg>` + "\n"
)

// builtinNames describe the content at these paths.
var builtinNames = map[string]string{ // must not be changed
	legacyPath: "the list of mirrors", robotsPath: "the rules for crawlers", iconPath: "an icon",
}

// builtinName describes the content at a URL that the redirector answers itself.
func builtinName(u *url.URL) string {
	if name, ok := builtinNames[unescape(requestPath(u))]; ok {
		return name
	}
	return "a file of http.well_known, if it has one of that name"
}

// builtin returns the handler of an escaped path that the redirector answers itself, or nil.
func (h *Handler) builtin(path string) http.HandlerFunc {
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
		io.WriteString(w, text) // an error means that the client is gone
	}
}
