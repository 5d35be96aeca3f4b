package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"go.uber.org/zap"

	"mipvpn/client"
	"mipvpn/client/config"
	"mipvpn/client/control"
	"mipvpn/ipsec/gateway"
	"mipvpn/ipsec/ike"
	"mipvpn/ipsec/ike/message"
	"mipvpn/mipv4/auth"
	"mipvpn/mipv4/homeagent"
	"mipvpn/stack/agent"
	"mipvpn/stack/simnet"
)

// The mobility security associations and the IKE identities of the lab.
const (
	InternalSPI = 1001
	ExternalSPI = 1002

	LaptopIdentity  = "laptop@corp.example"
	GatewayIdentity = "gateway.corp.example"
)

var (
	internalKey = bytes.Repeat([]byte{0x11}, 16)
	externalKey = bytes.Repeat([]byte{0x22}, 16)
	psk         = []byte("a pre-shared key of the lab, not of anybody else")
)

// Options change what World starts. The zero value is the lab as it is.
type Options struct {
	// Seed of the simulated network.
	Seed uint64
	// Client, when set, changes the mobile node's configuration before it starts.
	Client func(*config.Config)
	// InternalHA, ExternalHA and Gateway, when set, change the agents' configurations before they start.
	InternalHA, ExternalHA func(*agent.HomeAgentConfig)
	Gateway                func(*agent.GatewayConfig)
	// Lab, when set, changes the network before anything starts on it.
	Lab func(*simnet.Lab)
	// Start are further options of the mobile node.
	Start []client.Option
	// Log is the mobile node's log; nil for none.
	Log *zap.Logger
	// AgentLog is the agents' log; nil for none.
	AgentLog *zap.Logger
}

// World is the lab with everything running.
type World struct {
	*simnet.Lab
	// Client is the mobile node.
	Client *client.Client
	// Home agents, foreign agents and gateway, as they run.
	InternalAgent, ExternalAgent               *agent.HomeAgent
	InternalForeignAgent, ExternalForeignAgent *agent.ForeignAgent
	VPNGateway                                 *agent.Gateway
}

// ClientConfig returns the mobile node's configuration for the lab: the mandatory modes alone. Tests of the others set Mechanisms.
func ClientConfig() *config.Config {
	return &config.Config{
		UpAtStart: true, Mode: "auto",
		Device:     config.Device{Name: "mip0", MTU: 1386},
		Enterprise: config.Enterprise{Prefixes: []netip.Prefix{simnet.LabEnterprise}},
		Internal: config.HomeAgent{
			Address: simnet.LabInternalHA, HomeAddress: simnet.LabHomeAddress, GREKey: config.NoGREKey, SPI: InternalSPI, Algorithm: config.AlgorithmHMACMD5,
			Key: bytes.Clone(internalKey), Lifetime: 10 * time.Minute, Encapsulation: config.EncapsulationAuto,
		},
		External: config.HomeAgent{
			Address: simnet.LabExternalHA, HomeAddress: simnet.LabExternalHomeAddress, GREKey: config.NoGREKey, SPI: ExternalSPI, Algorithm: config.AlgorithmHMACMD5,
			Key: bytes.Clone(externalKey), Lifetime: 10 * time.Minute, Encapsulation: config.EncapsulationAuto,
		},
		Gateway: config.Gateway{
			Address: simnet.LabGateway, LocalIdentity: LaptopIdentity, RemoteIdentity: GatewayIdentity, PSK: bytes.Clone(psk),
			IKELifetime: 4 * time.Hour, ChildLifetime: time.Hour, Liveness: 30 * time.Second, KeepAlive: 20 * time.Second,
			CheckAfter: 5 * time.Second, GiveUp: 10 * time.Second, Park: config.ParkKeep,
		},
		Mechanisms: config.Mechanisms{EndpointUpdate: config.MechanismOff, GatewayAgent: config.MechanismOff, ZeroOverhead: config.MechanismOff},
		Detection: config.Detection{
			Monitor: 60 * time.Second, Grace: 30 * time.Second, Period: 2 * time.Second, Probe: 10 * time.Minute,
			RetransmitInitial: time.Second, RetransmitFactor: 2, RetransmitMax: 2 * time.Second, RetransmitCount: 16,
		},
	}
}

// association makes one end of a mobility security association.
func association(spi uint32, key []byte) *auth.SecurityAssociation {
	sa, err := auth.New(auth.Parameters{SPI: spi, Key: key})
	if err != nil {
		panic(err) // constants of this file
	}
	return sa
}

// NewWorld starts everything on a new lab, the laptop's interfaces unplugged. Close it.
func NewWorld(o Options) (*World, error) {
	w := &World{Lab: simnet.NewLab(o.Seed)}
	if o.Lab != nil {
		o.Lab(w.Lab)
	}
	if o.Log == nil {
		o.Log = zap.NewNop()
	}
	if o.AgentLog == nil {
		o.AgentLog = zap.NewNop()
	}
	if err := w.start(o); err != nil {
		return nil, errors.Join(err, w.Close())
	}
	return w, nil
}

func (w *World) start(o Options) error {
	if err := w.startAgents(o); err != nil {
		return err
	}
	cfg := ClientConfig()
	if o.Client != nil {
		o.Client(cfg)
	}
	var err error
	w.Client, err = client.Start(w.Laptop, cfg, o.Log, append([]client.Option{client.WithDrops(w.Laptop.Drops())}, o.Start...)...)
	return err
}

// internalConfig returns the configuration of the lab's i-HA.
func internalConfig() agent.HomeAgentConfig {
	return agent.HomeAgentConfig{Config: homeagent.Config{
		Address: simnet.LabInternalHA, HomeNetworks: []netip.Prefix{simnet.LabHomeNetwork}, Internal: true, SimultaneousBindings: 4,
		TrustedNetworks: []netip.Prefix{simnet.LabEnterprise},
		MobileNodes: []homeagent.MobileNode{{
			HomeAddress: simnet.LabHomeAddress, Associations: []*auth.SecurityAssociation{association(InternalSPI, internalKey)},
		}},
	}}
}

// externalConfig returns the configuration of the lab's x-HA.
func externalConfig() agent.HomeAgentConfig {
	return agent.HomeAgentConfig{Config: homeagent.Config{
		Address: simnet.LabExternalHA, HomeNetworks: []netip.Prefix{simnet.LabExternalHomeNetwork},
		SimultaneousBindings: 4,
		MobileNodes: []homeagent.MobileNode{{
			HomeAddress: simnet.LabExternalHomeAddress, Associations: []*auth.SecurityAssociation{association(ExternalSPI, externalKey)},
		}},
	}}
}

func (w *World) startAgents(o Options) error {
	internal, external := internalConfig(), externalConfig()
	if o.InternalHA != nil {
		o.InternalHA(&internal)
	}
	if o.ExternalHA != nil {
		o.ExternalHA(&external)
	}
	var err error
	if w.InternalAgent, err = agent.StartHomeAgent(w.InternalHA, internal, o.AgentLog.Named("i-ha")); err != nil {
		return err
	}
	if w.ExternalAgent, err = agent.StartHomeAgent(w.ExternalHA, external, o.AgentLog.Named("x-ha")); err != nil {
		return err
	}
	w.InternalForeignAgent, err = agent.StartForeignAgent(w.InternalFA, internalFAConfig(w), o.AgentLog.Named("i-fa"))
	if err != nil {
		return err
	}
	w.ExternalForeignAgent, err = agent.StartForeignAgent(w.ExternalFA, externalFAConfig(w), o.AgentLog.Named("x-fa"))
	if err != nil {
		return err
	}
	w.VPNGateway, err = startGateway(w, o)
	return err
}

func startGateway(w *World, o Options) (*agent.Gateway, error) {
	own, err := message.NewIdentity(GatewayIdentity)
	if err != nil {
		return nil, err
	}
	laptop, err := message.NewIdentity(LaptopIdentity)
	if err != nil {
		return nil, err
	}
	cfg := agent.GatewayConfig{Address: simnet.LabGateway, Config: gateway.Config{
		IKE: ike.Config{LocalID: own}, Peers: []gateway.Peer{{Identity: laptop, PSK: bytes.Clone(psk)}},
		Pool: simnet.LabInnerPool, Networks: []netip.Prefix{simnet.LabEnterprise},
	}}
	if o.Gateway != nil {
		o.Gateway(&cfg)
	}
	return agent.StartGateway(w.Gateway, cfg, o.AgentLog.Named("gateway"))
}

// Close ends everything.
func (w *World) Close() error {
	var errs []error
	if w.Client != nil {
		errs = append(errs, w.Client.Close())
	}
	if w.InternalAgent != nil {
		errs = append(errs, w.InternalAgent.Close())
	}
	if w.ExternalAgent != nil {
		errs = append(errs, w.ExternalAgent.Close())
	}
	if w.InternalForeignAgent != nil {
		errs = append(errs, w.InternalForeignAgent.Close())
	}
	if w.ExternalForeignAgent != nil {
		errs = append(errs, w.ExternalForeignAgent.Close())
	}
	if w.VPNGateway != nil {
		errs = append(errs, w.VPNGateway.Close())
	}
	return errors.Join(append(errs, w.Lab.Close())...)
}

// Until waits until the mobile node's status satisfies f, for at most d.
func (w *World) Until(d time.Duration, f func(control.Status) bool) (control.Status, error) {
	ctx, cancel := context.WithTimeout(context.Background(), d)
	defer cancel()
	events, stop := w.Client.Subscribe()
	defer stop()
	for {
		s, err := w.Client.Status(ctx)
		if err != nil || f(s) {
			return s, err
		}
		select {
		case <-events:
		case <-ctx.Done():
			return s, fmt.Errorf("e2e: after %v: state %s, mode %q, problems %v", d, s.State, s.Mode, s.Problems)
		}
	}
}

// UntilMode waits until the mobile node is connected in the mode, for at most d.
func (w *World) UntilMode(d time.Duration, mode string) (control.Status, error) {
	return w.Until(d, func(s control.Status) bool { return s.State == control.StateConnected && s.Mode == mode })
}

// addressPair returns two IPv4 addresses as they stand in a header.
func addressPair(src, dst netip.Addr) []byte { return append(src.AsSlice(), dst.AsSlice()...) }
