package probe

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/url"
	"strings"
	"testing"
)

// TestCopyOf takes responses for copies of a file or of a part of it, or says why they are none.
func TestCopyOf(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		path   string // if not x.img
		status int
		header string // of the form "name: value", or empty
		part   bool   // the 10 bytes from offset 5 were asked for
		whole  bool
		fault  string
	}{
		"the file":                              {status: 200, whole: true},
		"a part":                                {status: 206, header: "Content-Range: bytes 5-14/100", part: true},
		"a part of a size not told":             {status: 206, header: "Content-Range: bytes 5-14/*", part: true},
		"the file instead of a part":            {status: 200, part: true, whole: true},
		"a part instead of the file":            {status: 206, header: "Content-Range: bytes 0-14/100", fault: "206"},
		"another part":                          {status: 206, header: "Content-Range: bytes 0-9/100", part: true, fault: "range"},
		"a shorter part":                        {status: 206, header: "Content-Range: bytes 5-13/100", part: true, fault: "range"},
		"parts without a range":                 {status: 206, header: "Content-Type: multipart/byteranges", part: true, fault: "range"},
		"no file":                               {status: 404, fault: "not exist"},
		"gone":                                  {status: 410, fault: "not exist"},
		"busy":                                  {status: 503, fault: "503"},
		"no such range":                         {status: 416, part: true, fault: "416"},
		"no content":                            {status: 204, fault: "204"},
		"compressed":                            {status: 200, header: "Content-Encoding: gzip", fault: "encoding"},
		"compressed otherwise":                  {path: "x.gz", status: 200, header: "Content-Encoding: br", fault: "encoding"},
		"said to be plain":                      {status: 200, header: "Content-Encoding: Identity", whole: true},
		"a compressed file, said to be so":      {path: "x.tar.gz", status: 200, header: "Content-Encoding: x-gzip", whole: true},
		"a compressed archive, said to be so":   {path: "x.tgz", status: 200, header: "Content-Encoding: gzip", whole: true},
		"a part of a compressed file, likewise": {path: "x.gz", status: 206, header: "Content-Encoding: gzip", part: true, fault: "range"},
	} {
		resp := &http.Response{
			StatusCode: test.status, Status: fmt.Sprint(test.status), Header: http.Header{}, ContentLength: 10,
			Request: &http.Request{URL: &url.URL{Path: "/pub/" + cmp.Or(test.path, "x.img")}},
		}
		if header, value, ok := strings.Cut(test.header, ": "); ok {
			resp.Header.Set(header, value)
		}
		offset, length := int64(0), int64(0)
		if test.part {
			offset, length = 5, 10
		}
		copied, err := copyOf(resp, offset, length)
		switch {
		case test.fault == "" && err != nil:
			t.Errorf("%s: %v", name, err)
		case test.fault == "" && (copied.Whole != test.whole || copied.Size != 10):
			t.Errorf("%s: %+v", name, copied)
		case test.fault == "not exist" && !errors.Is(err, fs.ErrNotExist):
			t.Errorf("%s: got %v, want %v", name, err, fs.ErrNotExist)
		case test.fault != "" && test.fault != "not exist" && (err == nil || !strings.Contains(err.Error(), test.fault)):
			t.Errorf("%s: got %v, want %s", name, err, test.fault)
		}
	}
}
