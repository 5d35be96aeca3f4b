package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"mipvpn/client/control"
	"mipvpn/cmd/miplab/internal/bench"
	"mipvpn/cmd/miplab/internal/company"
	"mipvpn/cmd/miplab/internal/space"
	"mipvpn/cmd/miplab/internal/topology"
)

// benchPort is the correspondent's port for transfers.
const benchPort = 7100

// Addresses and port of the WireGuard tunnel: of the pool that the company routes to the gateway.
var (
	wireguardNear = netip.MustParsePrefix("10.0.9.200/32")
	wireguardFar  = netip.MustParsePrefix("10.0.9.201/32")
	wireguardPort = uint16(51820)
)

const reference = "wireguard-go"

type benchOptions struct {
	json     bool
	duration time.Duration
}

func benchCommands() []*cobra.Command {
	var o benchOptions
	b := &cobra.Command{Use: "bench", Short: "Measure throughput beside wireguard-go", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return runBench(cmd.Context(), o, cmd.OutOrStdout(), cmd.ErrOrStderr())
		}}
	b.Flags().BoolVar(&o.json, "json", false, "write the figures as one JSON document")
	b.Flags().DurationVar(&o.duration, "duration", 5*time.Second, "time of each transfer")
	w := &cobra.Command{Use: "wireguard FILE", Hidden: true, Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			w, err := bench.LoadWireGuard(args[0])
			if err != nil {
				return err
			}
			return w.Run(func() { fmt.Fprintln(cmd.OutOrStdout(), standing) }, cmd.Context().Done())
		}}
	return []*cobra.Command{b, w}
}

// benchRun is a run of the measurements.
type benchRun struct {
	benchOptions
	lab      *topology.Lab
	dir      string
	listener net.Listener
	report   bench.Report
	log      io.Writer
}

func runBench(ctx context.Context, o benchOptions, out, errOut io.Writer) (err error) {
	if err := becomeAble(); err != nil {
		return err
	}
	dir, remove, err := directory("")
	if err != nil {
		return err
	}
	defer remove()
	lab, err := topology.New(topology.Options{Offload: true})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, lab.Close()) }()
	r := &benchRun{benchOptions: o, lab: lab, dir: dir, log: errOut}
	r.report = bench.Report{Schema: bench.Schema, Reference: reference, Seconds: o.duration.Seconds(), Cores: runtime.NumCPU()}
	err = lab.Box(topology.Correspondent).Do(func() (err error) {
		at := netip.AddrPortFrom(topology.CorrespondentAddress, benchPort)
		r.listener, err = net.ListenTCP("tcp4", net.TCPAddrFromAddrPort(at))
		return err
	})
	if err != nil {
		return err
	}
	defer r.listener.Close()
	if err := errors.Join(r.kernel(ctx), r.wireguard(ctx), r.mipvpn(ctx)); err != nil {
		return err
	}
	if err := r.report.Relate(); err != nil {
		return err
	}
	if o.json {
		return r.report.WriteJSON(out)
	}
	return r.report.WriteTable(out)
}

// plug puts the laptop into a network with DHCP.
func (r *benchRun) plug(ctx context.Context, w topology.Wire) error {
	if err := r.lab.Plug("eth0", w); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	_, err := r.lab.AwaitAddress(ctx, "eth0", topology.Served[w])
	return err
}

// measure adds a row: transfers from the laptop's address `from`, or any when it is the zero Addr.
func (r *benchRun) measure(ctx context.Context, name string, from netip.Addr) error {
	fmt.Fprintf(r.log, "measuring %s\n", name)
	d := net.Dialer{Timeout: 20 * time.Second}
	if from.IsValid() {
		d.LocalAddr = &net.TCPAddr{IP: from.AsSlice()}
	}
	dial := func(ctx context.Context) (conn net.Conn, err error) {
		err = r.lab.Box(topology.Laptop).Do(func() (err error) {
			conn, err = d.DialContext(ctx, "tcp4", r.listener.Addr().String())
			return err
		})
		return conn, err
	}
	rates, err := bench.Measure(ctx, bench.Link{Dial: dial, Listener: r.listener}, r.duration)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	r.report.Rows = append(r.report.Rows, bench.Row{Name: name, Rates: rates})
	return nil
}

// kernel measures without any tunnel, in the office.
func (r *benchRun) kernel(ctx context.Context) error {
	if err := r.plug(ctx, topology.Office); err != nil {
		return err
	}
	return r.measure(ctx, "no tunnel", netip.Addr{})
}

// wireguard measures wireguard-go from the café to the gateway's box.
func (r *benchRun) wireguard(ctx context.Context) (err error) {
	if err := r.plug(ctx, topology.Cafe); err != nil {
		return err
	}
	gateway := r.lab.Box(topology.Gateway)
	if err := gateway.Sysctl("net.ipv4.ip_forward", "1"); err != nil {
		return err
	}
	near, far, err := bench.Pair(wireguardNear, wireguardFar, netip.AddrPortFrom(topology.GatewayAddress, wireguardPort),
		netip.PrefixFrom(topology.CorrespondentAddress, 32))
	if err != nil {
		return err
	}
	for _, end := range []struct {
		box *space.Space
		bench.WireGuard
	}{{gateway, far}, {r.lab.Box(topology.Laptop), near}} {
		stop, err := r.startWireGuard(end.box, end.WireGuard)
		if err != nil {
			return err
		}
		defer stop()
	}
	return r.measure(ctx, reference, wireguardNear.Addr())
}

// startWireGuard runs one end in a process of its own and waits until it is ready.
func (r *benchRun) startWireGuard(box *space.Space, w bench.WireGuard) (stop func(), err error) {
	file := filepath.Join(r.dir, "wireguard-"+box.Name+".json")
	if err := w.Save(file); err != nil {
		return nil, err
	}
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(self, "wireguard", file)
	cmd.Stderr = r.log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	said, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := box.Start(cmd); err != nil {
		return nil, err
	}
	stop = func() {
		cmd.Process.Signal(syscall.SIGTERM)
		cmd.Wait()
	}
	if line, err := bufio.NewReader(said).ReadString('\n'); err != nil || line != standing+"\n" {
		stop()
		return nil, fmt.Errorf("wireguard-go in %s said %q: %w", box.Name, line, err)
	}
	return stop, nil
}

// mipvpn measures the modes c and cvc.
func (r *benchRun) mipvpn(ctx context.Context) (err error) {
	binaries, err := company.Binaries()
	if err != nil {
		return err
	}
	if err := r.lab.Unplug("eth0"); err != nil {
		return err
	}
	c, err := company.Start(ctx, r.lab, r.dir, binaries, company.Options{})
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			fmt.Fprintln(r.log, c.Tail(20))
		}
		err = errors.Join(err, c.Stop())
	}()
	if err := c.Up(ctx); err != nil {
		return err
	}
	for _, m := range []struct {
		mode string
		wire topology.Wire
	}{{"c", topology.Office}, {"cvc", topology.Cafe}} {
		if err := r.plug(ctx, m.wire); err != nil {
			return err
		}
		if err := awaitMode(ctx, c, m.mode); err != nil {
			return err
		}
		if err := r.measure(ctx, "mipvpn "+m.mode, topology.InternalHomeAddress); err != nil {
			return err
		}
	}
	return nil
}

// awaitMode waits until the client is connected in the mode.
func awaitMode(ctx context.Context, c *company.Company, mode string) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		s, err := c.Status(ctx)
		if err == nil && s.State == control.StateConnected && s.Mode == mode {
			return nil
		}
		if err := c.Err(); err != nil {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("the client did not come to mode %s, it is %s in mode %q: %s", mode, s.State, s.Mode, s.Proof.Reason)
		}
	}
}
