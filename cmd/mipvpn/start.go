package main

import (
	"errors"

	"go.uber.org/zap"

	"mipvpn/client"
	"mipvpn/client/config"
	"mipvpn/stack/underlay"
)

// running is the client on this machine's kernel.
type running struct {
	*client.Client
	host *underlay.Host
}

// startClient starts the client on this machine's kernel.
func startClient(cfg *config.Config, log *zap.Logger) (backend, error) {
	host, err := underlay.NewHost(underlay.Options{})
	if err != nil {
		return nil, err
	}
	c, err := client.Start(host, cfg, log)
	if err != nil {
		return nil, errors.Join(err, host.Close())
	}
	return &running{c, host}, nil
}

// Close takes the client down and then lets go of the kernel.
func (r *running) Close() error { return errors.Join(r.Client.Close(), r.host.Close()) }
