package bench

import (
	"crypto/ecdh"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.zx2c4.com/wireguard/conn"
	"golang.zx2c4.com/wireguard/device"
	"golang.zx2c4.com/wireguard/tun"
)

// wireguardMTU is the MTU that WireGuard's own tools give its device on an Ethernet.
const wireguardMTU = 1420

// WireGuard is one end of a WireGuard tunnel, in the form in which it goes to the process that runs it.
type WireGuard struct {
	Name       string         `json:"name"`
	Address    netip.Prefix   `json:"address"`
	PrivateKey []byte         `json:"private_key"`
	PeerKey    []byte         `json:"peer_key"`
	ListenPort int            `json:"listen_port,omitempty"`
	Endpoint   netip.AddrPort `json:"endpoint,omitzero"`
	AllowedIPs []netip.Prefix `json:"allowed_ips"`
}

// Pair returns the two ends of a tunnel with fresh keys: the near one at `near`, which sends what is for `routes` to
// the far one at `far`, reached at the endpoint.
func Pair(near, far netip.Prefix, endpoint netip.AddrPort, routes ...netip.Prefix) (a, b WireGuard, err error) {
	keyA, err := ecdh.X25519().GenerateKey(rand.Reader)
	if err != nil {
		return a, b, err
	}
	keyB, err := ecdh.X25519().GenerateKey(rand.Reader)
	if err != nil {
		return a, b, err
	}
	a = WireGuard{Name: "wg0", Address: near, PrivateKey: keyA.Bytes(), PeerKey: keyB.PublicKey().Bytes(), Endpoint: endpoint, AllowedIPs: routes}
	b = WireGuard{Name: "wg0", Address: far, PrivateKey: keyB.Bytes(), PeerKey: keyA.PublicKey().Bytes(), ListenPort: int(endpoint.Port()),
		AllowedIPs: []netip.Prefix{near}}
	return a, b, nil
}

// Save writes the end into a file for LoadWireGuard.
func (w WireGuard) Save(file string) error {
	b, err := json.Marshal(w)
	if err != nil {
		return err
	}
	return os.WriteFile(file, b, 0o600)
}

// LoadWireGuard reads what Save wrote.
func LoadWireGuard(file string) (w WireGuard, err error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return w, err
	}
	return w, json.Unmarshal(b, &w)
}

// Run runs wireguard-go on this process's network namespace until stop is closed; ready is called once packets can go.
func (w WireGuard) Run(ready func(), stop <-chan struct{}) error {
	dev, err := tun.CreateTUN(w.Name, wireguardMTU)
	if err != nil {
		return fmt.Errorf("bench: WireGuard device: %w", err)
	}
	d := device.NewDevice(dev, conn.NewDefaultBind(), device.NewLogger(device.LogLevelError, "wireguard: "))
	defer d.Close()
	var set strings.Builder
	fmt.Fprintf(&set, "private_key=%s\n", hex.EncodeToString(w.PrivateKey))
	if w.ListenPort != 0 {
		fmt.Fprintf(&set, "listen_port=%d\n", w.ListenPort)
	}
	fmt.Fprintf(&set, "public_key=%s\n", hex.EncodeToString(w.PeerKey))
	if w.Endpoint.IsValid() {
		fmt.Fprintf(&set, "endpoint=%v\n", w.Endpoint)
	}
	for _, p := range w.AllowedIPs {
		fmt.Fprintf(&set, "allowed_ip=%v\n", p)
	}
	if err := d.IpcSet(set.String()); err != nil {
		return fmt.Errorf("bench: WireGuard configuration: %w", err)
	}
	if err := d.Up(); err != nil {
		return fmt.Errorf("bench: WireGuard: %w", err)
	}
	if err := w.configure(); err != nil {
		return fmt.Errorf("bench: WireGuard's host settings: %w", err)
	}
	ready()
	select {
	case <-stop:
	case <-d.Wait():
	}
	return nil
}

// configure sets the device's address and routes.
func (w WireGuard) configure() error {
	iface, err := netlink.LinkByName(w.Name)
	if err != nil {
		return err
	}
	ipNet := func(p netip.Prefix) *net.IPNet {
		return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), 32)}
	}
	if err := netlink.AddrAdd(iface, &netlink.Addr{IPNet: ipNet(w.Address)}); err != nil {
		return err
	}
	if err := netlink.LinkSetUp(iface); err != nil {
		return err
	}
	for _, p := range w.AllowedIPs {
		if err := netlink.RouteAdd(&netlink.Route{LinkIndex: iface.Attrs().Index, Dst: ipNet(p.Masked())}); err != nil {
			return err
		}
	}
	return nil
}
