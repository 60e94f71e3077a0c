package probe

import (
	"context"
	"net/http"
	"net/url"
	"testing"
	"time"

	"mirrorpool/testdata/testbed"
)

func TestHTTPReference(t *testing.T) {
	ca := testbed.NewAuthority(t)
	good := serve(t, "127.0.0.7", http.HandlerFunc(serveTrace), ca.Issue(t, "127.0.0.7", time.Now().Add(time.Hour)))
	elsewhere := serve(t, "127.0.0.8", redirect("http://localhost:"+portOf(serve(t, "127.0.0.1",
		http.HandlerFunc(serveTrace)).Listener)+"/"))
	parked := serve(t, "127.0.0.7", text("parked"))
	loop := serve(t, "127.0.0.7", redirect("/x"))
	hung := serveRaw(t, "127.0.0.7", linger)
	r := NewReference(ca.Roots(), time.Now)
	for _, test := range []struct{ name, url, want string }{
		{"another host, which the operator vouches for", elsewhere.URL, ""},
		{"wrong certificate", good.URL, `tls: certificate is not for "127.0.0.7"`},
		{"parked", parked.URL, `body: "parked", want an epoch second`},
		{"loop", loop.URL, "request: redirected to " + loop.URL + "/x: more than 5 redirects"},
		{"hung", "http://" + hung.Addr().String(), "request: timed out"},
		{"no server", "http://127.0.0.9:9", "connect: connection refused"},
	} {
		u, err := url.Parse(test.url)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
		trace, err := r.ReadReference(ctx, u, "test")
		cancel()
		if (err == nil) != (test.want == "") || err != nil && err.Error() != test.want || err == nil && !trace.Equal(traceTime) {
			t.Errorf("%s: %v, %v, want %q", test.name, trace, err, test.want)
		}
	}
}
