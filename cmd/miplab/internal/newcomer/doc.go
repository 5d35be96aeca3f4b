// Package newcomer tests mipvpn the way somebody meets it for the first time.
//
// Purpose: its tests make a clean Debian, boot systemd in it as the laptop of a lab that `miplab up` has made, install the package of
// `make packages` there, and do what docs/user.md, docs/administrator.md, docs/scripting.md and README.md say, block by block. Then they break
// things, and read what mipvpn says about it. A second clean Debian does what two of the lab's agents did, by their units, for a laptop on
// which the other units run: the kill switch before the network, the daemon with keys that systemd hands over, logind and polkit. A third
// has a /usr that cannot be written to and gets mipvpn as an extension of the system, and rpm installs
// where no system runs. There is nothing here but tests.
//
// Specification: none. What is left out on purpose: other distributions, and a desktop.
//
// Concurrency: tests run beside one another, each with a lab of its own. Each machine is a tree of processes of its own that ends with the test, however it ends.
//
// Ownership: the clean Debian is kept in a folder of the user's cache and is never written to again: each machine writes to a layer of
// its own in memory.
package newcomer
