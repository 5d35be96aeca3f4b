package control

import "context"

// The operations about profiles.
const (
	// OpProfiles asks which profiles there are, and answers with the Profiles.
	OpProfiles Op = "profiles"
	// OpProfile has the daemon use the profile Request.Profile from now on, and answers with the Reload. What cannot go on is made anew.
	OpProfile Op = "profile"
)

// Profile is one profile: a whole configuration.
type Profile struct {
	// Name is its name, File the path of its file.
	Name string `json:"name"`
	File string `json:"file"`
	// Chosen says that it is the one in use.
	Chosen bool `json:"chosen"`
}

// Profiles are all profiles of the daemon, the answer to OpProfiles.
type Profiles struct {
	// Schema is the constant Schema.
	Schema int `json:"schema"`
	// Profiles are they, the configuration that the daemon was started with first.
	Profiles []Profile `json:"profiles"`
}

// Profiler keeps the profiles.
type Profiler interface {
	// Profiles returns them.
	Profiles() (Profiles, error)
	// UseProfile has the client use another one, and keeps the choice. An error says why all is as it was before.
	UseProfile(ctx context.Context, name string) (Reload, error)
	// InUse returns the name of the one in use. That may be another one than the one chosen, such as while the choice could not be kept.
	InUse() string
}

// OnProfiles has the server answer OpProfiles and OpProfile by p, and name the one in use in each Status. It is called before Serve.
func (s *Server) OnProfiles(p Profiler) { s.profiles = p }

// profile answers OpProfiles and OpProfile.
func (s *Server) profile(ctx context.Context, r Request) Response {
	if s.profiles == nil {
		return failure(KindFailed, "this daemon has no profiles")
	}
	if r.Op == OpProfiles {
		p, err := s.profiles.Profiles()
		if err != nil {
			return failure(KindFailed, err.Error())
		}
		return Response{Profiles: &p}
	}
	changed, err := s.profiles.UseProfile(ctx, r.Profile)
	if err != nil {
		return failure(KindFailed, err.Error())
	}
	return Response{Reload: &changed}
}

// status is the backend's, with the profile in use.
func (s *Server) status(ctx context.Context) (Status, error) {
	status, err := s.backend.Status(ctx)
	if err == nil && s.profiles != nil {
		status.Profile = s.profiles.InUse()
	}
	return status, err
}

// Profiles returns the daemon's profiles.
func (c *Client) Profiles(ctx context.Context) (Profiles, error) {
	r, err := c.ask(ctx, Request{Op: OpProfiles})
	return value(r.Profiles, err)
}

// UseProfile has the daemon use another profile (Profiler.UseProfile).
func (c *Client) UseProfile(ctx context.Context, name string) (Reload, error) {
	r, err := c.ask(ctx, Request{Op: OpProfile, Profile: name})
	return value(r.Reload, err)
}
