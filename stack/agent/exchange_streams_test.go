package agent

import (
	"testing"

	"mipvpn/tun/link"
)

// streamKernel is a machine with TCP connections.
type streamKernel struct {
	link.Host
	link.StreamHost
}

// Shows: IKE-6. A role on a machine with TCP connections has them, so that the gateway takes IKE and ESP in TCP (RFC 9329) where it
// runs beside others; on one without it has none.
func TestExchangeKeepsStreams(t *testing.T) {
	x := NewExchange()
	if _, able := x.Host(streamKernel{}).(link.StreamHost); !able {
		t.Error("a role on a machine with TCP connections has none")
	}
	if _, able := x.Host(new(kernelBetween)).(link.StreamHost); able {
		t.Error("a role on a machine without TCP connections has some")
	}
}
