package e2e

import (
	"crypto/hmac"
	"crypto/md5"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	codec "layeh.com/radius"
	"layeh.com/radius/rfc2865"
	"layeh.com/radius/rfc2869"

	"mipvpn/client/config"
	"mipvpn/client/control"
	"mipvpn/ipsec/radius"
	"mipvpn/mipv4/wire"
	"mipvpn/stack/agent"
	"mipvpn/stack/simnet"
)

// radiusServer is a RADIUS server that knows users by the secrets that they answer challenges with.
type radiusServer struct {
	secret []byte // shared with the agents

	mu       sync.Mutex
	users    map[string]string
	accepted int
}

// lockOut has no user accepted from now on, and returns how often one was.
func (s *radiusServer) lockOut() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.users = nil
	return s.accepted
}

// answer returns the answer to an Access-Request.
func (s *radiusServer) answer(request []byte) ([]byte, error) {
	p, err := codec.Parse(request, s.secret)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	code := codec.CodeAccessReject
	password, known := s.users[rfc2865.UserName_GetString(p)]
	if response := rfc2865.CHAPPassword_Get(p); known && len(response) == 1+md5.Size {
		want := md5.Sum(append(append([]byte{response[0]}, password...), rfc2865.CHAPChallenge_Get(p)...))
		if hmac.Equal(want[:], response[1:]) {
			code = codec.CodeAccessAccept
			s.accepted++
		}
	}
	r := p.Response(code)
	if err := rfc2869.MessageAuthenticator_Set(r, make([]byte, md5.Size)); err != nil {
		return nil, err
	}
	b, err := r.MarshalBinary()
	if err != nil {
		return nil, err
	}
	h := hmac.New(md5.New, s.secret)
	h.Write(b)
	if err := rfc2869.MessageAuthenticator_Set(r, h.Sum(nil)); err != nil {
		return nil, err
	}
	return r.Encode()
}

// serve answers at an address of the host until the test ends.
func (s *radiusServer) serve(t *testing.T, host *simnet.Host, at netip.AddrPort) {
	t.Helper()
	conn, err := host.ListenUDP(at)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		buf := make([]byte, 4096)
		for {
			n, from, err := conn.ReadFromAddrPort(buf)
			if err != nil {
				return
			}
			answer, err := s.answer(append([]byte(nil), buf[:n]...))
			if err != nil {
				t.Error(err)
				continue
			}
			_, _ = conn.WriteToAddrPort(answer, from)
		}
	}()
	t.Cleanup(func() {
		_ = conn.Close()
		<-done
	})
}

// Both home agents have registrations checked by RADIUS servers, and both foreign agents challenge and ask them too: the laptop goes from
// place to place, stays longer than its registrations last, and gets in nowhere any more once its user is locked out.
//
// Shows: MIP-9, AGT-1, AGT-4 (challenge and Mobile-AAA authentication, the whole client at all agents)
func TestChallenged(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		secret := "what RADIUS has of the laptop"
		s := &radiusServer{secret: []byte("what RADIUS has of the agents"), users: map[string]string{
			simnet.LabHomeAddress.String(): secret, simnet.LabExternalHomeAddress.String(): secret,
		}}
		inside, outside := netip.AddrPortFrom(simnet.LabCorrespondent, 1812), netip.AddrPortFrom(simnet.LabExternalHA, 1812)
		asks := func(server netip.AddrPort) *radius.Config {
			return &radius.Config{Identifier: "agent", Servers: []radius.Server{{Address: server, Secret: s.secret}}}
		}
		w := world(t, Options{
			Seed:       32,
			InternalHA: func(c *agent.HomeAgentConfig) { c.RADIUS = asks(inside) },
			ExternalHA: func(c *agent.HomeAgentConfig) { c.RADIUS = asks(outside) },
			Client: func(c *config.Config) {
				for _, ha := range []*config.HomeAgent{&c.Internal, &c.External} {
					ha.AAASPI, ha.AAAKey = wire.CHAPSPI, config.Secret(secret)
				}
			},
		})
		s.serve(t, w.Correspondent, inside)
		s.serve(t, w.ExternalHA, outside)
		challenge := func(server netip.AddrPort) func(*agent.ForeignAgentConfig) {
			return func(c *agent.ForeignAgentConfig) { c.Challenge, c.RADIUS = true, asks(server) }
		}
		if err := w.RestartInternalFA(challenge(inside)); err != nil {
			t.Fatal(err)
		}
		if err := w.RestartExternalFA(challenge(outside)); err != nil {
			t.Fatal(err)
		}
		clear := watchClear(w)
		k := talk(t, w, 500*time.Millisecond)
		connected(t, w, places[0])
		for _, at := range places[1:4:4] {
			w.Plug(w.Wlan0, at.wire(w))
			mended(t, w, k, 20*time.Second, at.mode)
			time.Sleep(12 * time.Minute)
			if now, err := w.Client.Status(t.Context()); err != nil || now.Mode != at.mode {
				t.Fatalf("%s: mode %q after a while, problems %v, %v", at.name, now.Mode, now.Problems, err)
			}
		}
		if n := s.lockOut(); n < 20 {
			t.Errorf("%d registrations were asked about and accepted, want one each half minute and more", n)
		}
		w.Plug(w.Wlan0, w.Cafe)
		status, err := w.Until(time.Minute, func(s control.Status) bool {
			return slices.ContainsFunc(s.Problems, func(p control.Problem) bool {
				return strings.Contains(fmt.Sprint(p), wire.CodeBadAAAAuthentication.String())
			})
		})
		if err != nil || status.State == control.StateConnected {
			t.Errorf("locked out: state %v, problems %v, %v", status.State, status.Problems, err)
		}
		if n := clear.on(w.Hotspot, w.Cafe); n != 0 {
			t.Errorf("%d frames in the clear outside", n)
		}
		if n := w.ExternalForeignAgent.Registrations().Replies[wire.CodeFABadAAAAuthentication]; n != 0 {
			t.Errorf("%d answers to challenges were wrong", n)
		}
	})
}
