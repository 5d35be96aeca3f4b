package debian

import "mipvpn/ipsec/interop/charon"

// The peers that the tests run out of folders.
var (
	// StrongSwan60 is the strongSwan 6.0 of Debian 13.
	StrongSwan60 = Folder{Release: "trixie", Packages: charon.Packages}
	// StrongSwanTesting is the strongSwan of Debian's next release, which has ML-KEM.
	StrongSwanTesting = Folder{Release: "forky", Packages: charon.Packages}
	// Libreswan is the Libreswan 4.10 of Debian 12.
	Libreswan = Folder{Release: "bookworm", Packages: []string{"libreswan", "libnss3-tools"}}
)

// Peers are all of them.
func Peers() []Folder { return []Folder{StrongSwan60, StrongSwanTesting, Libreswan} }
