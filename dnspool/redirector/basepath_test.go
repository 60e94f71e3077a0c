package redirector

import "testing"

// TestCheckBasePath: a base path is refused exactly if no path below it can be redirected.
func TestCheckBasePath(t *testing.T) {
	t.Parallel()
	for _, basePath := range []string{
		"/", "/tails/", "/a/b/", "/.well-known/", "/.Well-Known./", "/.well-known/pool/", "/./.well-known/", "/.well-known;x/",
		"/pub/.well-known/", "/a/../b/", "/..;x/", "/a\\b/",
	} {
		_, refused := cleanPath(basePath+"file", basePath)
		if err := CheckBasePath(basePath); (err != nil) != (refused != nil) {
			t.Errorf("%s: %v, but for a file below it: %v", basePath, err, refused)
		}
	}
	if CheckBasePath("/.well-known/pool/") == nil {
		t.Error("/.well-known/pool/ is accepted")
	}
	if err := CheckBasePath(""); err != nil {
		t.Errorf("without the redirector: %v", err)
	}
}
