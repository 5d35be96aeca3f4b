package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"go.uber.org/zap"

	"mipvpn/client"
	"mipvpn/client/config"
	"mipvpn/detect/hint"
	"mipvpn/detect/power"
	"mipvpn/detect/resolve"
	"mipvpn/detect/suspend"
	"mipvpn/stack/underlay"
	"mipvpn/tun/hostnet"
	"mipvpn/tun/link"
	"mipvpn/tun/packet"
)

// running is the client on this machine's kernel.
type running struct {
	*client.Client
	host *underlay.Host
}

// gatewaysPath is where the gateways that were learnt are kept (`detection.learn_gateways`).
var gatewaysPath = filepath.Join(config.StateDirectory, "gateways.json")

// homesPath is where assigned home addresses are kept (`nai` without `home_address`).
var homesPath = filepath.Join(config.StateDirectory, "homes.json")

// wishPath returns where it is kept that the client was asked to be up or down: beside the socket, in a directory that goes when the
// system goes down (not so on Windows).
func wishPath(socket string) string { return socket + ".wish" }

// startClient starts the client on this machine's kernel.
func startClient(cfg *config.Config, log *zap.Logger) (backend, error) {
	drops := new(packet.Drops) // of the host's flows and devices and of the client, so that status shows them all
	host, err := underlay.NewHost(underlay.Options{Drops: drops})
	if err != nil {
		return nil, err
	}
	c, err := client.Start(host, cfg, log, client.WithDrops(drops), client.WithPortals(host), client.WithSuspend(suspend.Logind{}), client.WithPower(power.Desktop{}),
		client.WithLeases(&hint.SystemLeases{Bus: resolve.SystemBus, Inform: true}), client.WithGateways(hint.File{Path: gatewaysPath}), client.WithHomes(hint.File{Path: homesPath}),
		client.WithNames(systemNames(cfg.DNS)), client.WithWish(hint.File{Path: wishPath(cfg.Control.Socket)}))
	if err != nil {
		return nil, errors.Join(err, host.Close())
	}
	return &running{c, host}, nil
}

// Close ends the client and then lets go of the kernel.
func (r *running) Close() error { return errors.Join(r.Client.Close(), r.host.Close()) }

// liftBlock takes back what a daemon that has ended has left in this machine's kernel and resolver.
func liftBlock() error {
	return errors.Join(hostnet.New(hostnet.Options{}).Apply(link.Settings{}), liftNames())
}

// forgetWish has a daemon that is started on the socket not come up by itself for what a person asked of the one before.
func forgetWish(socket string) error {
	if err := os.Remove(wishPath(socket)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("a daemon that is started comes up by itself: remove the file: %w", err)
	}
	return nil
}
