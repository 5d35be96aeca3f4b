package browser

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"time"

	"golang.org/x/net/websocket"
)

// message is what comes from the browser: the answer to a call, or an event.
type message struct {
	ID     int             `json:"id"`
	Result json.RawMessage `json:"result"`
	Error  *struct {
		Message string `json:"message"`
	} `json:"error"`
	Method string          `json:"method"`
	Params json.RawMessage `json:"params"`
}

// call calls a method and waits for its answer; events that come before it are taken note of.
func (b *Browser) call(method string, params, result any) error {
	b.calls++
	if err := b.conn.SetDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	if err := websocket.JSON.Send(b.conn, map[string]any{"id": b.calls, "method": method, "params": params}); err != nil {
		return fmt.Errorf("browser: %s: %w", method, err)
	}
	for {
		m, err := b.receive()
		switch {
		case err != nil:
			return fmt.Errorf("browser: %s: %w", method, err)
		case m.ID != b.calls:
		case m.Error != nil:
			return fmt.Errorf("browser: %s: %s", method, m.Error.Message)
		case result == nil:
			return nil
		default:
			return json.Unmarshal(m.Result, result)
		}
	}
}

// receive returns the next message, having taken note of it if it is an event.
func (b *Browser) receive() (m message, err error) {
	if err := websocket.JSON.Receive(b.conn, &m); err != nil {
		return m, err
	}
	if m.ID == 0 {
		err = b.event(m)
	}
	return m, err
}

// event takes note of what a page asks for and complains about.
func (b *Browser) event(m message) error {
	var e struct {
		Request          struct{ URL string }
		Entry            struct{ Level, Text, URL string }
		ExceptionDetails struct {
			Text      string
			Exception struct{ Description string }
		}
		Type     string
		Args     []struct{ Value any }
		LoaderID string
		Name     string
	}
	switch m.Method {
	case "Page.lifecycleEvent", "Network.requestWillBeSent", "Log.entryAdded", "Runtime.exceptionThrown", "Runtime.consoleAPICalled":
		if err := json.Unmarshal(m.Params, &e); err != nil {
			return fmt.Errorf("browser: %s: %w", m.Method, err)
		}
	}
	switch {
	case m.Method == "Page.lifecycleEvent" && e.Name == "load":
		b.loaded = e.LoaderID
	case m.Method == "Network.requestWillBeSent":
		b.requests = append(b.requests, e.Request.URL)
	case m.Method == "Log.entryAdded" && e.Entry.Level == "error":
		b.complaints = append(b.complaints, e.Entry.Text+" "+e.Entry.URL)
	case m.Method == "Runtime.exceptionThrown":
		b.complaints = append(b.complaints, e.ExceptionDetails.Text+" "+e.ExceptionDetails.Exception.Description)
	case m.Method == "Runtime.consoleAPICalled" && e.Type == "error":
		b.complaints = append(b.complaints, fmt.Sprint(e.Args))
	}
	return nil
}

// Open goes to the page of a URL and returns when it has been loaded. What earlier pages asked for and complained about is
// forgotten.
func (b *Browser) Open(url string) error {
	b.complaints, b.requests = nil, nil
	var went struct{ LoaderID, ErrorText string }
	if err := b.call("Page.navigate", map[string]any{"url": url}, &went); err != nil {
		return err
	}
	if went.ErrorText != "" {
		return fmt.Errorf("browser: %s: %s", url, went.ErrorText)
	}
	for went.LoaderID != "" && b.loaded != went.LoaderID {
		if _, err := b.receive(); err != nil {
			return fmt.Errorf("browser: loading %s: %w", url, err)
		}
	}
	return nil
}

// Evaluate evaluates an expression in the page, waits for it where it is a promise, and decodes its value from JSON into v, unless that
// is nil.
func (b *Browser) Evaluate(expression string, v any) error {
	var r struct {
		Result           struct{ Value json.RawMessage }
		ExceptionDetails *struct {
			Text      string
			Exception struct{ Description string }
		}
	}
	params := map[string]any{"expression": expression, "awaitPromise": true, "returnByValue": true}
	if err := b.call("Runtime.evaluate", params, &r); err != nil {
		return err
	}
	if e := r.ExceptionDetails; e != nil {
		return fmt.Errorf("browser: %s: %s %s", expression, e.Text, e.Exception.Description)
	}
	if v == nil || r.Result.Value == nil {
		return nil
	}
	return json.Unmarshal(r.Result.Value, v)
}

// Await waits until the expression is true in the page; one that throws is not.
func (b *Browser) Await(expression string) error {
	var is bool
	err := b.Evaluate(fmt.Sprintf(`new Promise((done) => {
		const until = performance.now() + %d;
		const is = () => { try { return %s; } catch { return false; } };
		(function look() {
			if (is()) done(true); else if (performance.now() > until) done(false); else setTimeout(look, 20);
		})();
	})`, (patience-10*time.Second).Milliseconds(), expression), &is)
	if err == nil && !is {
		err = fmt.Errorf("browser: it did not come to be that %s", expression)
	}
	return err
}

// Press presses and releases a key by its name, such as "Home" or "ArrowLeft", with its code in Windows.
func (b *Browser) Press(key string, code int) error {
	for _, kind := range []string{"keyDown", "keyUp"} {
		params := map[string]any{"type": kind, "key": key, "code": key, "windowsVirtualKeyCode": code}
		if err := b.call("Input.dispatchKeyEvent", params, nil); err != nil {
			return err
		}
	}
	return nil
}

// View makes the window so wide and high in pixels, and has the system prefer dark or light, and no motion.
func (b *Browser) View(width, height int, dark bool) error {
	scheme := "light"
	if dark {
		scheme = "dark"
	}
	if err := b.call("Emulation.setEmulatedMedia", map[string]any{"features": []map[string]string{
		{"name": "prefers-color-scheme", "value": scheme}, {"name": "prefers-reduced-motion", "value": "reduce"}}}, nil); err != nil {
		return err
	}
	return b.call("Emulation.setDeviceMetricsOverride", map[string]any{"width": width, "height": height, "deviceScaleFactor": 1, "mobile": false}, nil)
}

// Picture writes what is in the window as a PNG file.
func (b *Browser) Picture(file string) error {
	var shot struct{ Data []byte }
	if err := b.call("Page.captureScreenshot", map[string]any{"format": "png"}, &shot); err != nil {
		return err
	}
	return os.WriteFile(file, shot.Data, 0o644)
}

// Node is one node of the page as assistive technology sees it.
type Node struct{ Role, Name string }

// Accessible returns the nodes that are not ignored, in the page's order.
func (b *Browser) Accessible() ([]Node, error) {
	var tree struct {
		Nodes []struct {
			Ignored bool
			Role    struct{ Value string }
			Name    struct{ Value string }
		}
	}
	if err := b.call("Accessibility.getFullAXTree", nil, &tree); err != nil {
		return nil, err
	}
	var nodes []Node
	for _, n := range tree.Nodes {
		if !n.Ignored {
			nodes = append(nodes, Node{n.Role.Value, n.Name.Value})
		}
	}
	return nodes, nil
}

// Complaints returns what pages have complained about since Open: exceptions, errors on the console, what their policy refused.
func (b *Browser) Complaints() []string { return slices.Clone(b.complaints) }

// Requests returns the URLs that pages have asked for since Open.
func (b *Browser) Requests() []string { return slices.Clone(b.requests) }
