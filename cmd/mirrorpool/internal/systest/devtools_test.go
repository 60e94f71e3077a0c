package systest

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"mirrorpool/testdata/testbed"
)

// A devtools is a page in a real browser, driven over the DevTools protocol.
type devtools struct {
	t       testing.TB
	session string
	send    io.Writer

	mu      sync.Mutex
	next    int
	answers map[int]chan devtoolsMessage
	events  []devtoolsMessage
}

type devtoolsMessage struct {
	ID        int             `json:"id,omitempty"`
	SessionID string          `json:"sessionId,omitempty"`
	Method    string          `json:"method,omitempty"`
	Params    json.RawMessage `json:"params,omitempty"`
	Result    json.RawMessage `json:"result,omitempty"`
	Error     *struct {
		Message string `json:"message"`
	} `json:"error,omitempty"`
}

// openDevtools runs a browser, and opens an empty page in it.
func openDevtools(t testing.TB, browser string) *devtools {
	t.Helper()
	toBrowser, send, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	receive, fromBrowser, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(browser, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
		"--disable-background-networking",
		"--disable-component-update", "--disable-sync", "--disable-dev-shm-usage", "--no-proxy-server", "--hide-scrollbars",
		"--user-data-dir="+t.TempDir(), "--remote-debugging-pipe", "about:blank")
	cmd.ExtraFiles = []*os.File{toBrowser, fromBrowser}
	cmd.WaitDelay = 10 * time.Second
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	toBrowser.Close()
	fromBrowser.Close()
	d := &devtools{t: t, send: send, answers: map[int]chan devtoolsMessage{}}
	done := make(chan struct{})
	go func() {
		defer close(done)
		d.read(receive)
	}()
	t.Cleanup(func() {
		d.session = ""
		d.call("Browser.close", nil, nil)
		send.Close()
		cmd.Wait() // it has done its work
		receive.Close()
		<-done
	})
	var target struct{ TargetID string }
	d.call("Target.createTarget", map[string]any{"url": "about:blank"}, &target)
	var attached struct{ SessionID string }
	d.call("Target.attachToTarget", map[string]any{"targetId": target.TargetID, "flatten": true}, &attached)
	d.session = attached.SessionID
	for _, domain := range []string{"Page", "Runtime", "Log", "Network"} {
		d.call(domain+".enable", nil, nil)
	}
	return d
}

// read takes in what the browser says: messages that end in a zero byte.
func (d *devtools) read(r io.Reader) {
	in := bufio.NewReader(r)
	for {
		text, err := in.ReadBytes(0)
		if err != nil {
			return
		}
		var m devtoolsMessage
		if json.Unmarshal(text[:len(text)-1], &m) != nil {
			continue
		}
		d.mu.Lock()
		if answer := d.answers[m.ID]; answer != nil {
			answer <- m
		} else {
			d.events = append(d.events, m)
		}
		d.mu.Unlock()
	}
}

// call has the browser do something, and reads the answer into result if that is not nil.
func (d *devtools) call(method string, params any, result any) {
	d.t.Helper()
	d.mu.Lock()
	d.next++
	m := devtoolsMessage{ID: d.next, SessionID: d.session, Method: method}
	answer := make(chan devtoolsMessage, 1)
	d.answers[m.ID] = answer
	d.mu.Unlock()
	err := func() (err error) {
		if params != nil {
			if m.Params, err = json.Marshal(params); err != nil {
				return err
			}
		}
		text, err := json.Marshal(m)
		if err != nil {
			return err
		}
		if _, err := d.send.Write(append(text, 0)); err != nil {
			return err
		}
		select {
		case got := <-answer:
			if got.Error != nil {
				return errors.New(got.Error.Message)
			}
			if result == nil {
				return nil
			}
			return json.Unmarshal(got.Result, result)
		case <-time.After(time.Minute):
			return errors.New("no answer within a minute")
		}
	}()
	if err != nil {
		d.t.Fatalf("the browser, %s: %v", method, err)
	}
}

// saw returns the parameters of all events with a name since the last forget.
func (d *devtools) saw(method string) (params []json.RawMessage) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, e := range d.events {
		if e.Method == method {
			params = append(params, e.Params)
		}
	}
	return params
}

// show opens a page at a width, in a colour scheme, and waits until it is there.
func (d *devtools) show(url string, width int, scheme string) {
	d.t.Helper()
	d.call("Emulation.setDeviceMetricsOverride", map[string]any{"width": width, "height": 900, "deviceScaleFactor": 1,
		"mobile": width < 600}, nil)
	d.call("Emulation.setEmulatedMedia", map[string]any{"features": []map[string]string{{"name": "prefers-color-scheme",
		"value": scheme}}}, nil)
	d.mu.Lock()
	d.events = nil
	d.mu.Unlock()
	d.call("Page.navigate", map[string]any{"url": url}, nil)
	testbed.Eventually(d.t, "the browser has loaded the page", func() bool { return len(d.saw("Page.loadEventFired")) > 0 })
}

// evaluate returns what an expression is in the page.
func (d *devtools) evaluate(expression string, result any) {
	d.t.Helper()
	var answer struct {
		Result           struct{ Value json.RawMessage }
		ExceptionDetails json.RawMessage
	}
	d.call("Runtime.evaluate", map[string]any{"expression": expression, "returnByValue": true}, &answer)
	if answer.ExceptionDetails != nil {
		d.t.Fatalf("%s: %s", expression, answer.ExceptionDetails)
	}
	if err := json.Unmarshal(answer.Result.Value, result); err != nil {
		d.t.Fatalf("%s: %v in %s", expression, err, answer.Result.Value)
	}
}

// complaints returns errors and warnings on the browser's console, and requests to anywhere but site.
func (d *devtools) complaints(site string) (all []string) {
	for _, method := range []string{"Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Log.entryAdded"} {
		for _, params := range d.saw(method) {
			all = append(all, fmt.Sprintf("%s: %s", method, params))
		}
	}
	for _, params := range d.saw("Network.requestWillBeSent") {
		var sent struct{ Request struct{ URL string } }
		if err := json.Unmarshal(params, &sent); err != nil {
			all = append(all, err.Error())
		}
		if !strings.HasPrefix(sent.Request.URL, site) && !strings.HasPrefix(sent.Request.URL, "data:") {
			all = append(all, "it asks for "+sent.Request.URL)
		}
	}
	return all
}

// picture takes a picture of the whole page.
func (d *devtools) picture() []byte {
	d.t.Helper()
	var shot struct{ Data []byte }
	d.call("Page.captureScreenshot", map[string]any{"captureBeyondViewport": true}, &shot)
	return shot.Data
}
