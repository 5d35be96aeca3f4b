package main

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"mipvpn/client/config"
	"mipvpn/client/config/draft"
	"mipvpn/client/config/strongswan"
)

// initFlags are the flags of `init` that give the value of a key as a text, in the order in which the questions come.
var initFlags = []struct{ flag, key, about string }{
	{"prefix", "enterprise.prefixes", "`PREFIX` of the company such as 10.0.0.0/8 (may be repeated)"},
	{"tunnel", "enterprise.tunnel", "`WHAT` goes through the client: split (those prefixes) or full (everything)"},
	{"internal-home-agent", "internal_home_agent.address", "`ADDRESS` of the i-HA"},
	{"internal-home-address", "internal_home_agent.home_address", "home `ADDRESS` of the laptop at the i-HA"},
	{"internal-spi", "internal_home_agent.spi", "`SPI`, the security parameter index, of the key for the i-HA"},
	{"external-home-agent", "external_home_agent.address", "`ADDRESS` or name of the x-HA"},
	{"external-home-address", "external_home_agent.home_address", "home `ADDRESS` of the laptop at the x-HA"},
	{"external-spi", "external_home_agent.spi", "`SPI`, the security parameter index, of the key for the x-HA"},
	{"gateway", "gateway.address", "`ADDRESS` or name of the VPN gateway"},
	{"identity", "gateway.local_identity", "IKE `IDENTITY` of the laptop"},
	{"gateway-identity", "gateway.remote_identity", "IKE `IDENTITY` of the gateway"},
	{"authentication", "authentication.rounds", "`WAY` in which the laptop proves its identity: psk, certificate, eap-mschapv2, eap-tls or eap-ttls (may be repeated)"},
	{"user", "authentication.user", "`USER` whose password it is, for EAP"},
	{"dns-domain", "dns.domains", "`DOMAIN` of the company (may be repeated)"},
	{"dns-server", "dns.servers", "`ADDRESS` of a name server of the company (may be repeated)"},
}

// written is the document of `init --json`.
type written struct {
	Schema int    `json:"schema"`
	File   string `json:"file"`
	// Written are the paths of what was written, Kept of what was there and is used, and New of the keys that were made.
	Written  []string        `json:"written"`
	Kept     []string        `json:"kept"`
	New      []string        `json:"new_keys"`
	Warnings []checkedRemark `json:"warnings"`
	// Remarks are what --import has not carried over.
	Remarks []importedRemark `json:"remarks,omitempty"`
	Next    []string         `json:"next"`
}

func (a *app) initialise() *cobra.Command {
	c := &cobra.Command{
		Use: "init", Short: "Make a configuration, by asking or from flags", Args: cobra.NoArgs,
		Long: "Make a configuration: ask on a terminal for what the flags do not say, write it with its key files, which nobody but\ntheir owner may read, and check it. With --yes, with --json or without a terminal nothing is asked, and what is missing is named.\nNothing that is there is overwritten without --force; files of the names i-ha.key, x-ha.key and gateway.psk beside the\nconfiguration are used as they are (home.i-ha.key and so on for home.toml).",
	}
	i := &interview{app: a, d: &draft.Draft{}, doc: written{Schema: 1, Written: []string{}, Kept: []string{}, New: []string{}, Warnings: []checkedRemark{}}}
	f := c.Flags()
	file := f.String("config", config.DefaultPath, "configuration to write")
	force := f.Bool("force", false, "overwrite what is there")
	yes := f.Bool("yes", false, "ask nothing")
	asJSON := jsonFlag(c)
	values := make([]*[]string, len(initFlags))
	for n, flag := range initFlags {
		values[n] = f.StringSlice(flag.flag, nil, flag.about)
	}
	sets := f.StringArray("set", nil, "any other key, as `KEY=VALUE` with the value as in TOML (may be repeated)")
	f.StringVar(&i.from.internal, "internal-key", "", "`FILE` of the key for the i-HA, in hexadecimal digits")
	f.StringVar(&i.from.external, "external-key", "", "`FILE` of the key for the x-HA, in hexadecimal digits")
	f.StringVar(&i.from.psk, "psk", "", "`FILE` of the pre-shared key for the gateway")
	f.StringVar(&i.from.certificate, "certificate", "", "`FILE` of the laptop's certificate, in PEM or PKCS#12")
	f.StringVar(&i.from.key, "private-key", "", "`FILE` of its private key, or pkcs11:... or tpm2:...")
	f.StringSliceVar(&i.from.anchors, "ca", nil, "`FILE` of the certification authority of the gateway (may be repeated)")
	f.BoolVar(&i.noExternal, "no-external-home-agent", false, "there is no x-HA: the gateway follows the laptop")
	f.BoolVar(&i.newKeys, "new-keys", false, "make keys that are not given; the company's side needs them, too")
	profile := f.String("import", "", "`FILE` of a strongSwan profile (.sswan, or swanctl.conf) to take the VPN part from")
	connection := f.String("connection", "", "with --import, `NAME` of the connection in swanctl.conf, where there are several")
	up := f.Bool("up-at-start", false, "come up when the daemon starts")
	c.RunE = func(cmd *cobra.Command, _ []string) error {
		if *profile != "" {
			r, err := strongswan.Read(*profile, *connection)
			if err != nil {
				return failed(err)
			}
			r.Draft.Prefix(draft.PrefixOf(*file))
			i.d.Merge(r.Draft)
			i.doc.Remarks = remarksOf(r)
			if !*asJSON {
				a.tellRemarks(i.doc.Remarks)
			}
		}
		for n, flag := range initFlags {
			if f.Changed(flag.flag) {
				if err := i.d.SetText(flag.key, strings.Join(*values[n], ",")); err != nil {
					return fmt.Errorf("--%s: %w", flag.flag, err)
				}
			}
		}
		for _, s := range *sets {
			key, value, ok := strings.Cut(s, "=")
			if !ok {
				return fmt.Errorf("--set %q has no =: --set 'device.mtu=1280', for example", s)
			}
			if err := i.d.SetTOML(strings.TrimSpace(key), value); err != nil {
				return fmt.Errorf("--set: %w", err)
			}
		}
		if f.Changed("up-at-start") {
			if err := i.d.Set("up_at_start", *up); err != nil {
				return err
			}
		}
		i.asks = !*yes && !*asJSON && a.question != nil && a.prompt != nil
		stage, err := draft.NewStage(*file, *force)
		if err != nil {
			return failed(adviseInit(err))
		}
		i.ctx, i.stage = cmd.Context(), stage
		err = i.run()
		i.d.Wipe()
		if closed := stage.Close(); err == nil {
			err = failed(closed)
		}
		if err != nil {
			return err
		}
		if *asJSON {
			return failed(writeJSON(a.out, i.doc))
		}
		return failed(i.tell())
	}
	return c
}

// run gathers what is to be written, and writes it.
func (i *interview) run() error {
	if err := i.gather(); err != nil {
		return err
	}
	err := i.d.Check()
	errs, understood := errors.AsType[config.Errors](err)
	switch {
	case err != nil && !understood:
		return failed(err)
	case err != nil || i.undecided:
		return missing(errs, i.undecided)
	}
	warnings, err := i.stage.Install(i.d, nil)
	if err != nil {
		if _, understood := errors.AsType[config.Errors](err); understood {
			err = fmt.Errorf("nothing was written, because this could not be used\n%w", err)
		}
		return failed(adviseInit(err))
	}
	for _, w := range warnings {
		i.doc.Warnings = append(i.doc.Warnings, checkedRemark{w.Line, w.Key, w.Message})
	}
	for _, f := range i.d.Files() {
		i.doc.Written = append(i.doc.Written, i.stage.Beside(f.Name))
	}
	i.doc.File = i.stage.Path()
	i.doc.Written = append(i.doc.Written, i.doc.File)
	i.doc.Next = []string{enableService, "mipvpn up", "mipvpn wait --for connected"}
	if i.doc.File != config.DefaultPath {
		i.doc.Next[0] = "mipvpn daemon --config " + i.doc.File
	}
	if len(i.doc.New) > 0 {
		i.doc.Next = append([]string{"give " + strings.Join(i.doc.New, ", ") + " to the company's side"}, i.doc.Next...)
	}
	return nil
}

// missing is what is wrong with the answers, by their flags.
func missing(errs config.Errors, undecided bool) error {
	lines := []string{"this is missing or cannot be, and nothing was written:"}
	if undecided {
		lines = append(lines, "  --external-home-agent and what belongs to it, or --no-external-home-agent: nothing says which x-HA there is")
	}
	for _, e := range errs {
		flag := ""
		for _, f := range initFlags {
			if f.key == e.Key {
				flag = "--" + f.flag + ": "
			}
		}
		switch e.Key {
		case "internal_home_agent.key_file":
			flag = "--internal-key, or --new-keys: "
		case "external_home_agent.key_file":
			flag = "--external-key, or --new-keys: "
		case "gateway.psk_file":
			flag = "--psk, or --new-keys: "
		case "authentication.certificate":
			flag = "--certificate: "
		case "trust.anchors":
			flag = "--ca: "
		}
		e.Line = 0
		lines = append(lines, "  "+flag+strings.TrimPrefix(e.Error(), ": "))
	}
	return errors.New(strings.Join(lines, "\n"))
}

// adviseInit says what to do about a file that could not be written.
func adviseInit(err error) error {
	switch {
	case errors.Is(err, draft.ErrExists):
		return fmt.Errorf("%w: keep it, or overwrite it with --force", err)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("%w: run it as root, or write elsewhere with --config", err)
	case errors.Is(err, syscall.EROFS):
		return fmt.Errorf("%w: make the file system writable, or write elsewhere with --config", err)
	case errors.Is(err, syscall.ENOSPC):
		return fmt.Errorf("%w: nothing was changed; make room, and run it again", err)
	}
	return err
}

// tell says what was written, and what is next.
func (i *interview) tell() error {
	var b strings.Builder
	for _, w := range i.doc.Warnings {
		fmt.Fprintf(&b, "warning: %s: %s\n", w.Key, w.Message)
	}
	for _, path := range i.doc.Kept {
		fmt.Fprintf(&b, "%s was there and is used.\n", path)
	}
	for _, path := range i.doc.Written {
		if path != i.doc.File {
			fmt.Fprintf(&b, "%s is written.\n", path)
		}
	}
	fmt.Fprintf(&b, "%s is written and valid.\n", i.doc.File)
	b.WriteString("Next:\n")
	for _, next := range i.doc.Next {
		fmt.Fprintf(&b, "  %s\n", next)
	}
	_, err := fmt.Fprint(i.out, printable(b.String()))
	return err
}
