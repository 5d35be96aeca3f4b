package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"

	"github.com/spf13/cobra"

	"mipvpn/client"
	"mipvpn/client/config"
	"mipvpn/tun/hostnet"
	"mipvpn/tun/link"
)

// firewall works on the line that the kernel holds, without a daemon.
type firewall interface {
	// Load puts the kill switch of the settings into the kernel, with the routes and rules that outlive a process.
	Load(link.Settings) error
	// Line returns the kill switch that stands.
	Line() (hostnet.Line, error)
}

// openFirewall returns that of this machine's kernel.
func openFirewall() firewall { return hostnet.New(hostnet.Options{}) }

func (a *app) firewall() *cobra.Command {
	parent := &cobra.Command{
		Use: "firewall", Short: "Load and show the kill switch, which the kernel holds", Args: cobra.NoArgs,
		Long: "Work on the kill switch: the rules by which the kernel keeps the enterprise's traffic in the tunnel, whatever\nbecomes of the daemon. `mipvpn up` writes them; `mipvpn down` alone takes them away.",
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	load := &cobra.Command{
		Use: "load", Short: "Write the kill switch's rules without a daemon, as at the system's start", Args: cobra.NoArgs,
		Long: "Write the kill switch's rules from the configuration without a daemon, all at once. The enterprise's traffic is\nblocked from then on, until `mipvpn up` carries it or `mipvpn down` gives it back. It is for the system's start,\nbefore the network is up (mipvpn-firewall.service); secrets are not read. Root, or CAP_NET_ADMIN.",
	}
	file := load.Flags().String("config", config.DefaultPath, "configuration file")
	load.RunE = func(*cobra.Command, []string) error {
		path, err := a.chosen(*file)
		if err != nil {
			return failed(err)
		}
		cfg, err := config.LoadPublic(path)
		if err != nil {
			return failed(fmt.Errorf("the configuration cannot be used\n%w", err))
		}
		return failed(a.line().Load(client.LinkSettings(cfg)))
	}
	show := &cobra.Command{
		Use: "show", Short: "Show the kill switch's rules and how many packets they have dropped", Args: cobra.NoArgs,
		Long: "Show the kill switch's rules as the kernel has them, and how many packets each has dropped since it was written.\nRoot, or CAP_NET_ADMIN.",
	}
	asJSON := jsonFlag(show)
	show.RunE = func(*cobra.Command, []string) error {
		l, err := a.line().Line()
		if errors.Is(err, fs.ErrPermission) {
			err = fmt.Errorf("%w: run it as root", err)
		}
		if err != nil {
			return failed(err)
		}
		if *asJSON {
			return failed(writeJSON(a.out, lineDocument(l)))
		}
		return failed(writeLineText(a.out, l))
	}
	parent.AddCommand(load, show)
	return parent
}

// shownLine is the document of `firewall show --json`.
type shownLine struct {
	Schema     int         `json:"schema"`
	Stands     bool        `json:"stands"`
	Everywhere bool        `json:"every_interface"`
	Rules      []shownRule `json:"rules"`
}

type shownRule struct {
	Table   string  `json:"table"`
	Chain   string  `json:"chain"`
	Text    string  `json:"text"`
	Packets *uint64 `json:"packets,omitempty"`
}

func lineDocument(l hostnet.Line) shownLine {
	doc := shownLine{Schema: 1, Stands: l.Stands, Everywhere: l.Everywhere, Rules: []shownRule{}}
	for _, r := range l.Rules {
		shown := shownRule{Table: r.Table, Chain: r.Chain, Text: r.Text}
		if r.Counts {
			shown.Packets = &r.Packets
		}
		doc.Rules = append(doc.Rules, shown)
	}
	return doc
}

func writeLineText(w io.Writer, l hostnet.Line) error {
	head := "The kill switch does not stand: nothing keeps the enterprise's traffic in the tunnel."
	switch {
	case l.Stands && l.Everywhere:
		head = "The kill switch stands, on every interface, those to come included."
	case l.Stands:
		head = "The kill switch stands. An interface that is new gets its egress chain when the daemon sees it (Linux before 6.16, or an nft before 1.1.6)."
	}
	_, err := fmt.Fprintln(w, head)
	chain := ""
	for _, r := range l.Rules {
		if name := r.Table + " " + r.Chain; name != chain && err == nil {
			chain = name
			_, err = fmt.Fprintf(w, "%s\n", name)
		}
		if err != nil {
			return err
		}
		if r.Counts {
			_, err = fmt.Fprintf(w, "  %s (%d packets)\n", printable(r.Text), r.Packets)
		} else {
			_, err = fmt.Fprintf(w, "  %s\n", printable(r.Text))
		}
	}
	return err
}
