package main

import (
	"io/fs"
	"path"
	"slices"
)

// content is one file or folder of a package.
type content struct {
	// to is where it goes on the machine.
	to string
	// from is where it comes from in the source; empty for a folder, and for what make returns.
	from string
	// make returns what is in it, for what is no copy.
	make func(b builder) ([]byte, error)
	mode fs.FileMode
	// config says that it is a person's, and stays as it is when the package is replaced.
	config bool
	// edit changes what is copied; nil for nothing.
	edit func([]byte) []byte
}

// pack is one package.
type pack struct {
	name, summary, description string
	contents                   []content
	// depends and recommends are names of packages, by packager.
	recommends []string
	// scripts are run after installation and before removal, by name of a file beside this one.
	postinstall, preremove string
}

const (
	units   = "/usr/lib/systemd/system"
	pages   = "/usr/share/man"
	docs    = "/usr/share/doc"
	public  = 0o644
	program = 0o755
)

// packs returns the packages.
func packs() []pack {
	return []pack{
		{
			name: "mipvpn", summary: "VPN client on Mobile IPv4 and IPsec: one address wherever the laptop goes",
			description: "Keeps one address, and every session on it, wherever the laptop goes: plain Mobile IPv4 inside the company, Mobile IPv4 in IPsec outside it (RFC 5265). A kill switch in the kernel keeps the company's traffic off other networks.",
			contents: slices.Concat(programFiles("mipvpn", 1), []content{
				{to: units + "/mipvpn.service", from: "configs/systemd/mipvpn.service", mode: public},
				{to: units + "/mipvpn-firewall.service", from: "configs/systemd/mipvpn-firewall.service", mode: public},
				{to: "/usr/lib/systemd/network/10-mipvpn.network", from: "configs/desktop/10-mipvpn.network", mode: public},
				{to: "/usr/lib/NetworkManager/conf.d/90-mipvpn.conf", from: "configs/desktop/NetworkManager.conf", mode: public},
				{to: "/usr/lib/udev/rules.d/85-mipvpn.rules", from: "configs/desktop/85-mipvpn.rules", mode: public},
				{to: "/etc/mipvpn", mode: fs.ModeDir | 0o755},
				{to: "/etc/mipvpn/hooks.d", mode: fs.ModeDir | 0o755},
				{to: "/etc/mipvpn/profiles.d", mode: fs.ModeDir | 0o755},
				{to: "/usr/share/polkit-1/actions/org.mipvpn.policy", from: "configs/polkit/org.mipvpn.policy", mode: public},
				{to: "/usr/share/mipvpn/mipvpn.schema.json", mode: public, make: func(b builder) ([]byte, error) { return b.output("mipvpn", "config", "schema") }},
				page("mipvpn.toml", 5, "configuration of mipvpn", "docs/configuration.md"),
				page("mipvpn-hooks", 7, "scripts and hooks of mipvpn", "docs/scripting.md"),
				page("mipvpn-user", 7, "using mipvpn", "docs/user.md"),
				page("mipvpn-administrator", 7, "rolling mipvpn out", "docs/administrator.md"),
				page("mipvpn-errors", 7, "what mipvpn says when something is wrong, and what to do", "docs/errors.md"),
				{to: docs + "/mipvpn/examples/mipvpn.toml", from: "configs/laptop/mipvpn.toml", mode: public},
			}, examples("mipvpn", "observe/mipvpn-rules.yml", "observe/mipvpn-dashboard.json", "desktop/networkd.conf"),
				scriptExamples("notify", "office-dock", "maintenance-window", "networkmanager-dispatcher", "networkd-dispatcher")),
			recommends: []string{"systemd-resolved"}, postinstall: "mipvpn.postinst", preremove: "mipvpn.prerm",
		},
		{
			name: "mipagent", summary: "home agent, foreign agent and VPN gateway for Mobile IPv4 VPNs",
			description: "Internal and external home agents (RFC 5944, RFC 5265), foreign agents and an IKEv2 gateway, by role, for laptops with mipvpn and for other Mobile IPv4 nodes.",
			contents: slices.Concat(programFiles("mipagent", 8), []content{
				{to: units + "/mipagent.service", from: "configs/systemd/mipagent.service", mode: public, edit: installed},
				{to: units + "/mipagent@.service", from: "configs/systemd/mipagent@.service", mode: public, edit: installed},
				{to: "/usr/lib/sysusers.d/mipagent.conf", from: "configs/systemd/mipagent.sysusers", mode: public},
				{to: "/etc/mipvpn", mode: fs.ModeDir | 0o755},
				page("mipagent-operations", 7, "setting up and running the agents", "docs/operations.md"),
			}, examples("mipagent", "external-home-agent.toml", "foreign-agent.toml", "gateway.toml", "gateway-agent.toml", "gateway-radius.toml", "gateway-users.toml", "home-agent-cluster.toml", "internal-home-agent.toml",
				"observe/mipagent-rules.yml", "observe/mipagent-dashboard.json")),
			postinstall: "mipagent.postinst", preremove: "mipagent.prerm",
		},
		{
			name: "miplab", summary: "a company, the Internet and a laptop on one machine, to try mipvpn",
			description: "Makes the networks of a company, the Internet and cafés in network namespaces, runs mipvpn and mipagent in them, takes the laptop through every access mode and shows and measures what happens.",
			contents:    programFiles("miplab", 1),
			recommends:  []string{"mipvpn", "mipagent"},
		},
	}
}

// programFiles are those that every program has.
func programFiles(name string, section int) []content {
	files := []content{
		{to: "/usr/bin/" + name, mode: program, make: func(b builder) ([]byte, error) { return b.binary(name) }},
		{to: manualPath(name, section), mode: public, make: func(b builder) ([]byte, error) { return b.output(name, "manual") }},
		{to: docs + "/" + name + "/copyright", from: "LICENSE", mode: public},
		{to: docs + "/" + name + "/NOTICE", from: "NOTICE", mode: public},
	}
	for shell, to := range completions {
		files = append(files, content{to: to(name), mode: public, make: func(b builder) ([]byte, error) { return b.output(name, "completion", shell) }})
	}
	slices.SortFunc(files, func(a, b content) int { return cmp(a.to, b.to) })
	return files
}

// completions say where each shell looks.
var completions = map[string]func(string) string{
	"bash": func(name string) string { return "/usr/share/bash-completion/completions/" + name },
	"zsh":  func(name string) string { return "/usr/share/zsh/vendor-completions/_" + name },
	"fish": func(name string) string { return "/usr/share/fish/vendor_completions.d/" + name + ".fish" },
}

// page is a manual page made of a document.
func page(name string, section int, short, from string) content {
	return content{to: manualPath(name, section), mode: public, make: func(b builder) ([]byte, error) { return b.page(name, section, short, from) }}
}

func manualPath(name string, section int) string {
	n := string(rune('0' + section))
	return path.Join(pages, "man"+n, name+"."+n)
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

func cmp(a, b string) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}
