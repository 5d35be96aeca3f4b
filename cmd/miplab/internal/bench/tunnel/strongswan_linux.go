package tunnel

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"mipvpn/cmd/miplab/internal/bench/traffic"
	"mipvpn/cmd/miplab/internal/space"
	"mipvpn/ipsec/interop/charon"
)

// strongswanConf loads what configs/strongswan loads: ESP in userspace on a TUN device.
const strongswanConf = `charon {
	load_modular = yes
	plugins {
		include strongswan.d/charon/*.conf
		kernel-libipsec {
			load = yes
		}
		bypass-lan {
			load = no
		}
	}
}
include strongswan.d/*.conf
`

// swanctlConf is one end: its address and the other's, identities, and the inner addresses.
const swanctlConf = `connections {
	bench {
		version = 2
		local_addrs = %[1]v
		remote_addrs = %[2]v
		proposals = aes128gcm16-prfsha256-ecp256
		local {
			auth = psk
			id = %[3]s
		}
		remote {
			auth = psk
			id = %[4]s
		}
		children {
			bench {
				local_ts = %[5]v
				remote_ts = %[6]v
				esp_proposals = aes128gcm16
			}
		}
	}
}
include conf.d/*.conf
`

// initiation is how often the SA is asked for until the far end is ready.
const initiation = 200 * time.Millisecond

// startStrongSwan starts charon at each end; the near one initiates.
func startStrongSwan(ctx context.Context, s *Site, _ Programs, t *Standing) error {
	key := make([]byte, 32)
	rand.Read(key)
	var near *charon.Daemon
	for _, end := range []struct {
		space                   *space.Space
		local, remote           netip.Addr
		id, peer                string
		localInner, remoteInner netip.Prefix
	}{
		{s.Far, FarAddress, NearAddress, "far.bench.example", "near.bench.example", innerFar, innerNear},
		{s.Near, NearAddress, FarAddress, "near.bench.example", "far.bench.example", innerNear, innerFar},
	} {
		// charon takes the inner address from the host.
		h, err := end.space.Netlink()
		if err != nil {
			return err
		}
		lo, err := h.LinkByName("lo")
		if err == nil {
			err = addAddress(h, lo, end.localInner)
		}
		h.Close()
		if err != nil {
			return err
		}
		d, err := t.charon(end.space, fmt.Sprintf(swanctlConf, end.local, end.remote, end.id, end.peer, end.localInner, end.remoteInner),
			charon.Secret{Name: "bench", Owners: []string{end.id, end.peer}, Key: key})
		if err != nil {
			return err
		}
		near = d
	}
	t.Path.NearAddress, t.Path.FarAddress = innerNear.Addr(), innerFar.Addr()
	for {
		_, err := near.Swanctl("--initiate", "--child", "bench", "--timeout", "5")
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return errors.Join(err, errors.New(near.Tail(20)))
		case <-time.After(initiation):
		}
	}
}

// charon starts the daemon of one end.
func (t *Standing) charon(s *space.Space, connections string, secret charon.Secret) (*charon.Daemon, error) {
	configuration := filepath.Join(t.site.Dir, "configuration-"+s.Name)
	dir := filepath.Join(t.site.Dir, "charon-"+s.Name)
	for _, d := range []string{configuration, dir} {
		if err := os.Mkdir(d, 0o700); err != nil {
			return nil, err
		}
	}
	for name, text := range map[string]string{"strongswan.conf": strongswanConf, "swanctl.conf": connections} {
		if err := os.WriteFile(filepath.Join(configuration, name), []byte(text), 0o600); err != nil {
			return nil, err
		}
	}
	var daemon *exec.Cmd // the first that is started; the others are swanctl
	launch := func(c *exec.Cmd) error {
		if daemon == nil {
			daemon = c
		}
		return s.Start(c)
	}
	d, err := charon.Start(charon.Options{Configuration: configuration, Dir: dir, Launch: launch, Secrets: []charon.Secret{secret}})
	if err != nil {
		return nil, err
	}
	t.closers = append(t.closers, d.Stop)
	t.charons = append(t.charons, d)
	if p := traffic.Process(daemon.Process.Pid); s == t.site.Near {
		t.Near = p
	} else {
		t.Far = append(t.Far, p)
	}
	return d, nil
}
