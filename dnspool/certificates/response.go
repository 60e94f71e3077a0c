package certificates

import (
	"fmt"
	"io"
	"net/http"
)

const maxResponse = 1 << 20 // bytes of an authority's response, decompressed

// A limitedTransport ends the read of a response that is too large. acmez reads all of it into memory.
type limitedTransport struct{ http.RoundTripper }

// RoundTrip is described at [http.RoundTripper].
func (t limitedTransport) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := t.RoundTripper.RoundTrip(req)
	if err == nil {
		resp.Body = &limitedBody{resp.Body, maxResponse}
	}
	return resp, err
}

// A limitedBody is a body that may have a number of bytes more.
type limitedBody struct {
	io.ReadCloser
	left int64
}

// Read is described at [io.Reader].
func (b *limitedBody) Read(p []byte) (int, error) {
	if int64(len(p)) > b.left+1 {
		p = p[:b.left+1]
	}
	n, err := b.ReadCloser.Read(p)
	if b.left -= int64(n); b.left < 0 {
		return 0, fmt.Errorf("the response has more than %d bytes", int64(maxResponse))
	}
	return n, err
}
