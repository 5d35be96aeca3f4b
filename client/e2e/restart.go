package e2e

import (
	"go.uber.org/zap"

	"mipvpn/mipv4/foreignagent"
	"mipvpn/stack/agent"
	"mipvpn/stack/simnet"
)

// The agents as NewWorld starts them, started again: bindings, visitors and security associations of the old ones are lost,
// and nobody is told. Errors: what closing the old one or starting the new one says; World.Close still ends everything.

// RestartInternalHA starts the i-HA anew, with what change makes of its configuration; nil leaves it as it is in the lab.
func (w *World) RestartInternalHA(change func(*agent.HomeAgentConfig)) error {
	if err := w.InternalAgent.Close(); err != nil {
		return err
	}
	cfg := internalConfig()
	if change != nil {
		change(&cfg)
	}
	next, err := agent.StartHomeAgent(w.InternalHA, cfg, zap.NewNop())
	if err == nil {
		w.InternalAgent = next
	}
	return err
}

// RestartExternalHA starts the x-HA anew, with what change makes of its configuration; nil leaves it as it is in the lab.
func (w *World) RestartExternalHA(change func(*agent.HomeAgentConfig)) error {
	if err := w.ExternalAgent.Close(); err != nil {
		return err
	}
	cfg := externalConfig()
	if change != nil {
		change(&cfg)
	}
	next, err := agent.StartHomeAgent(w.ExternalHA, cfg, zap.NewNop())
	if err == nil {
		w.ExternalAgent = next
	}
	return err
}

// RestartInternalFA starts the office's foreign agent anew, with what change makes of its configuration.
func (w *World) RestartInternalFA(change func(*agent.ForeignAgentConfig)) error {
	return restartFA(&w.InternalForeignAgent, w.InternalFA, internalFAConfig(w), change)
}

// RestartExternalFA starts the hotspot's foreign agent anew, with what change makes of its configuration.
func (w *World) RestartExternalFA(change func(*agent.ForeignAgentConfig)) error {
	return restartFA(&w.ExternalForeignAgent, w.ExternalFA, externalFAConfig(w), change)
}

func restartFA(a **agent.ForeignAgent, host *simnet.Host, cfg agent.ForeignAgentConfig, change func(*agent.ForeignAgentConfig)) error {
	if err := (*a).Close(); err != nil {
		return err
	}
	if change != nil {
		change(&cfg)
	}
	next, err := agent.StartForeignAgent(host, cfg, zap.NewNop())
	if err == nil {
		*a = next
	}
	return err
}

func internalFAConfig(w *World) agent.ForeignAgentConfig {
	return agent.ForeignAgentConfig{Config: foreignagent.Config{CareOfAddress: simnet.LabInternalFA}, Interface: w.InternalFAVisited.Name()}
}

func externalFAConfig(w *World) agent.ForeignAgentConfig {
	return agent.ForeignAgentConfig{Config: foreignagent.Config{CareOfAddress: simnet.LabExternalFA}, Interface: w.ExternalFAVisited.Name()}
}

// RestartGateway starts the VPN gateway anew, with what change makes of its configuration; an orderly end says goodbye to its
// clients, unless its cable has been pulled.
func (w *World) RestartGateway(change func(*agent.GatewayConfig)) error {
	if w.VPNGateway != nil {
		if err := w.VPNGateway.Close(); err != nil {
			return err
		}
		w.VPNGateway = nil
	}
	next, err := startGateway(w, Options{AgentLog: zap.NewNop(), Gateway: change})
	if err == nil {
		w.VPNGateway = next
	}
	return err
}
