// Package bustest starts a message bus of a test's own and puts the services on it that this program talks to.
//
// Purpose: what goes over D-Bus is tested against the real dbus-daemon and godbus on both sides, without touching the
// system bus. Resolved stands for systemd-resolved, as far as the methods and properties that are used go; what it is told
// it keeps and shows. RealNetworkManager is that program itself, where it is installed, in namespaces of its own, with the real udev
// where a test has rules for that.
//
// Specification: org.freedesktop.resolve1(5): Manager.GetLink, SetLinkDNS, SetLinkDomains, SetLinkDefaultRoute, SetLinkDNSSEC,
// SetLinkDNSOverTLS, SetLinkLLMNR, SetLinkMulticastDNS, RevertLink, FlushCaches, the properties Domains of the manager and DNS of
// a link. NetworkManager's GetDeviceByIpIface, Device.Ip4Config, IP4Config.NameserverData, Device.Ip6Config and
// IP6Config.Nameservers. Everything else is left out.
//
// Concurrency: all functions are safe for concurrent use, but for a RealNetworkManager, which one goroutine uses.
//
// Ownership: the bus ends with the test, and so does NetworkManager.
package bustest
