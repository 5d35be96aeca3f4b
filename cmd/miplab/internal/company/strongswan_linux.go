package company

import (
	"errors"
	"os"
	"path/filepath"

	"mipvpn/client/config"
	"mipvpn/cmd/miplab/internal/space"
	"mipvpn/ipsec/interop/charon"
)

// strongSwanFolder finds the folder with strongSwan's configuration, configs/strongswan: below the parent of the folder
// of this program, or below the present one.
func strongSwanFolder() (string, error) {
	binaries, err := Binaries()
	if err != nil {
		return "", err
	}
	tried := []string{filepath.Join(filepath.Dir(binaries), "configs", "strongswan"), filepath.Join("configs", "strongswan")}
	for _, dir := range tried {
		if _, err := os.Stat(filepath.Join(dir, "swanctl.conf")); err == nil {
			return dir, nil
		}
	}
	return "", errors.New("company: strongSwan's configuration is in neither of " + tried[0] + " and " + tried[1] + "; run miplab in the project's folder")
}

// startStrongSwan starts charon as the VPN gateway in the namespace and returns what ends it.
func startStrongSwan(s *space.Space, dir string) (*charon.Daemon, error) {
	folder, err := strongSwanFolder()
	if err != nil {
		return nil, err
	}
	data, err := os.ReadFile(filepath.Join(dir, GatewayPSK))
	if err != nil {
		return nil, err
	}
	psk, err := config.ParsePSK(data)
	if err != nil {
		return nil, err
	}
	// charon leaves forwarding between its device and the internal network to the administrator.
	if err := s.Sysctl("net.ipv4.ip_forward", "1"); err != nil {
		return nil, err
	}
	own := filepath.Join(dir, "strongswan")
	if err := os.Mkdir(own, 0o700); err != nil {
		return nil, err
	}
	return charon.Start(charon.Options{
		Configuration: folder, Dir: own, Launch: s.Start,
		Secrets: []charon.Secret{{Name: "laptop", Owners: []string{LaptopIdentity, GatewayIdentity}, Key: psk}},
	})
}
