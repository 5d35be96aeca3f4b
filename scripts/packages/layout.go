package main

import (
	"io/fs"
	"path"
	"slices"
	"strings"
)

// content is one file of a package. All lie below /usr, which is all that systems with a read-only /usr keep of a package, and all that an
// extension of systemd-sysext can hold. What persons write is in /etc/mipvpn, which tmpfiles.d makes.
type content struct {
	// to is where it goes on the machine.
	to string
	// from is where it comes from in the source; empty for what make returns.
	from string
	// make returns what is in it, for what is no copy.
	make func(b builder) ([]byte, error)
	mode fs.FileMode
	// edit changes what is copied; nil for nothing.
	edit func([]byte) []byte
}

// pack is one package.
type pack struct {
	name, summary, description string
	contents                   []content
	// units says that it has some, and can be an extension of the system, too.
	units bool
	// recommends are names of packages.
	recommends []string
	// Scripts are run after installation, before removal and after it, by name of a file beside this one. They do for a system that runs
	// what its next start does by itself, and nothing where none runs: in an image that is being made, for example.
	postinstall, preremove, postremove string
}

const (
	services = "/usr/lib/systemd/system"
	presets  = "/usr/lib/systemd/system-preset"
	pages    = "/usr/share/man"
	docs     = "/usr/share/doc"
	public   = 0o644
	program  = 0o755
)

// packs returns the packages.
func packs() []pack {
	return []pack{
		{
			name: "mipvpn", summary: "VPN client on Mobile IPv4 and IPsec: one address wherever the laptop goes",
			description: "Keeps one address, and every session on it, wherever the laptop goes: plain Mobile IPv4 inside the company, Mobile IPv4 in IPsec outside it (RFC 5265). A kill switch in the kernel keeps the company's traffic off other networks.",
			contents: slices.Concat(programFiles("mipvpn", 1), []content{
				{to: services + "/mipvpn.service", from: "configs/systemd/mipvpn.service", mode: public},
				{to: services + "/mipvpn-firewall.service", from: "configs/systemd/mipvpn-firewall.service", mode: public},
				{to: "/usr/lib/systemd/user/mipvpn-answer.service", from: "configs/systemd/mipvpn-answer.service", mode: public},
				{to: "/usr/lib/systemd/network/10-mipvpn.network", from: "configs/desktop/10-mipvpn.network", mode: public},
				{to: "/usr/lib/NetworkManager/conf.d/90-mipvpn.conf", from: "configs/desktop/NetworkManager.conf", mode: public},
				{to: "/usr/lib/udev/rules.d/85-mipvpn.rules", from: "configs/desktop/85-mipvpn.rules", mode: public},
				{to: "/usr/lib/tmpfiles.d/mipvpn.conf", from: "configs/systemd/mipvpn.tmpfiles", mode: public},
				{to: presets + "/80-mipvpn.preset", from: "configs/systemd/mipvpn.preset", mode: public},
				{to: "/usr/share/polkit-1/actions/org.mipvpn.policy", from: "configs/polkit/org.mipvpn.policy", mode: public},
				{to: "/usr/share/mipvpn/mipvpn.schema.json", mode: public, make: func(b builder) ([]byte, error) { return b.output("mipvpn", "config", "schema") }},
				page("mipvpn.toml", 5, "configuration of mipvpn", "docs/configuration.md"),
				page("mipvpn-hooks", 7, "scripts and hooks of mipvpn", "docs/scripting.md"),
				page("mipvpn-user", 7, "using mipvpn", "docs/user.md"),
				page("mipvpn-administrator", 7, "rolling mipvpn out", "docs/administrator.md"),
				page("mipvpn-errors", 7, "what mipvpn says when something is wrong, and what to do", "docs/errors.md"),
				{to: docs + "/mipvpn/examples/mipvpn.toml", from: "configs/laptop/mipvpn.toml", mode: public},
			}, documents("mipvpn"), examples("mipvpn", "observe/mipvpn-rules.yml", "observe/mipvpn-dashboard.json", "desktop/networkd.conf"),
				scriptExamples("notify", "office-dock", "maintenance-window", "networkmanager-dispatcher", "networkd-dispatcher")),
			recommends: []string{"systemd-resolved"}, postinstall: "mipvpn.postinst", preremove: "mipvpn.prerm", postremove: "mipvpn.postrm", units: true,
		},
		{
			name: "mipagent", summary: "home agent, foreign agent and VPN gateway for Mobile IPv4 VPNs",
			description: "Internal and external home agents (RFC 5944, RFC 5265), foreign agents and an IKEv2 gateway, by role, for laptops with mipvpn and for other Mobile IPv4 nodes.",
			contents: slices.Concat(programFiles("mipagent", 8), []content{
				{to: services + "/mipagent.service", from: "configs/systemd/mipagent.service", mode: public, edit: installed},
				{to: services + "/mipagent@.service", from: "configs/systemd/mipagent@.service", mode: public, edit: installed},
				{to: "/usr/lib/sysusers.d/mipagent.conf", from: "configs/systemd/mipagent.sysusers", mode: public},
				{to: "/usr/lib/tmpfiles.d/mipagent.conf", from: "configs/systemd/mipagent.tmpfiles", mode: public},
				{to: presets + "/80-mipagent.preset", from: "configs/systemd/mipagent.preset", mode: public},
				page("mipagent-operations", 7, "setting up and running the agents", "docs/operations.md"),
			}, documents("mipagent"), examples("mipagent", "external-home-agent.toml", "foreign-agent.toml", "gateway.toml", "gateway-agent.toml", "gateway-radius.toml", "gateway-users.toml", "home-agent-cluster.toml", "internal-home-agent.toml",
				"observe/mipagent-rules.yml", "observe/mipagent-dashboard.json")),
			postinstall: "mipagent.postinst", preremove: "mipagent.prerm", postremove: "mipagent.postrm", units: true,
		},
		{
			name: "miplab", summary: "a company, the Internet and a laptop on one machine, to try mipvpn",
			description: "Makes the networks of a company, the Internet and cafés in network namespaces, runs mipvpn and mipagent in them, takes the laptop through every access mode and shows and measures what happens.",
			contents:    programFiles("miplab", 1),
			recommends:  []string{"mipvpn", "mipagent"},
		},
	}
}

// byHandFiles are what the archive of static programs holds: what a person puts into place where no package goes. INSTALL.md says where.
func byHandFiles() []content {
	files := []content{
		{to: "INSTALL.md", from: "scripts/packages/INSTALL.md", mode: public},
		{to: "LICENSE", from: "LICENSE", mode: public},
		{to: "NOTICE", from: "NOTICE", mode: public},
		{to: "org.mipvpn.policy", from: "configs/polkit/org.mipvpn.policy", mode: public},
		{to: "mipagent.sysusers", from: "configs/systemd/mipagent.sysusers", mode: public},
	}
	for _, name := range []string{"mipvpn", "mipagent", "miplab"} {
		files = append(files, content{to: name, mode: program, make: func(b builder) ([]byte, error) { return b.binary(name) }})
	}
	for _, unit := range []string{"mipvpn.service", "mipvpn-firewall.service", "mipagent.service", "mipagent@.service"} {
		files = append(files, content{to: unit, from: "configs/systemd/" + unit, mode: public, edit: byHand})
	}
	return files
}

// programFiles are those that every program has.
func programFiles(name string, section int) []content {
	files := []content{
		{to: "/usr/bin/" + name, mode: program, make: func(b builder) ([]byte, error) { return b.binary(name) }},
		{to: manualPath(name, section), mode: public, make: func(b builder) ([]byte, error) { return b.output(name, "manual") }},
		{to: docs + "/" + name + "/copyright", from: "LICENSE", mode: public},
		{to: docs + "/" + name + "/NOTICE", from: "NOTICE", mode: public},
	}
	for _, c := range completions {
		files = append(files, content{to: c.to(name), mode: public, make: func(b builder) ([]byte, error) { return b.output(name, "completion", c.shell) }})
	}
	slices.SortFunc(files, func(a, b content) int { return strings.Compare(a.to, b.to) })
	return files
}

// completions say where each shell looks. The packages of zsh look in different places: Debian's in the first, others in the second.
var completions = []struct {
	shell string
	to    func(program string) string
}{
	{"bash", func(name string) string { return "/usr/share/bash-completion/completions/" + name }},
	{"zsh", func(name string) string { return "/usr/share/zsh/vendor-completions/_" + name }},
	{"zsh", func(name string) string { return "/usr/share/zsh/site-functions/_" + name }},
	{"fish", func(name string) string { return "/usr/share/fish/vendor_completions.d/" + name + ".fish" }},
}

// page is a manual page made of a document.
func page(name string, section int, short, from string) content {
	return content{to: manualPath(name, section), mode: public, make: func(b builder) ([]byte, error) { return b.page(name, section, short, from) }}
}

func manualPath(name string, section int) string {
	n := string(rune('0' + section))
	return path.Join(pages, "man"+n, name+"."+n)
}

// papers are the documents in docs: messages, manual pages and each other name them as docs/NAME.
var papers = []string{
	"administrator.md", "alternatives.md", "architecture.md", "benchmarks.md", "configuration.md", "conformance.md",
	"demo.md", "desktop.md", "detection.md", "errors.md", "gateway-agent.md", "ipsec.md", "modes.md", "next.md",
	"observe.md", "operations.md", "other-systems.md", "scale.md", "scripting.md", "terminal.md", "threat-model.md",
	"user.md", "zero-overhead.md",
}

// documents are all of them, as they are: what one names is beside it.
func documents(name string) (list []content) {
	for _, f := range papers {
		list = append(list, content{to: docs + "/" + name + "/docs/" + f, from: "docs/" + f, mode: public})
	}
	return list
}

func examples(name string, files ...string) (list []content) {
	for _, f := range files {
		list = append(list, content{to: docs + "/" + name + "/examples/" + path.Base(f), from: "configs/" + f, mode: public})
	}
	return list
}

// scriptExamples are example scripts, ready to be run.
func scriptExamples(files ...string) (list []content) {
	for _, f := range files {
		list = append(list, content{to: docs + "/mipvpn/examples/" + f, from: "scripts/examples/" + f, mode: program})
	}
	return list
}
