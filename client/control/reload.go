package control

import "context"

// OpReload has the daemon read its configuration again, and answers with the Reload. With Request.Anew the session may be made anew
// where it cannot go on.
const OpReload Op = "reload"

// Reload says what a new configuration has changed, the answer to OpReload.
type Reload struct {
	// Schema is the constant Schema.
	Schema int `json:"schema"`
	// Changed are the keys whose values are other ones than before; that of a key's file counts.
	Changed []string `json:"changed"`
	// Renewed names what was set up anew for that, such as "dns", "registrations", "vpn" or "session"; empty where the new values are used
	// from now on without that.
	Renewed []string `json:"renewed"`
	// Warnings are what the new configuration allows but probably does not mean, a line each.
	Warnings []string `json:"warnings"`
}

// Reloader reads the configuration again. anew allows it to end the session and begin another one, with the enterprise's traffic blocked
// meanwhile. An error says why all is as it was before.
type Reloader func(ctx context.Context, anew bool) (Reload, error)

// OnReload has the server answer OpReload by f. It is called before Serve.
func (s *Server) OnReload(f Reloader) { s.reload = f }

// reloaded answers OpReload.
func (s *Server) reloaded(ctx context.Context, anew bool) Response {
	if s.reload == nil {
		return failure(KindFailed, "this daemon does not read its configuration again: restart it")
	}
	r, err := s.reload(ctx, anew)
	if err != nil {
		return failure(KindFailed, err.Error())
	}
	return Response{Reload: &r}
}

// Reload has the daemon read its configuration again (Reloader).
func (c *Client) Reload(ctx context.Context, anew bool) (Reload, error) {
	r, err := c.ask(ctx, Request{Op: OpReload, Anew: anew})
	return value(r.Reload, err)
}
