package main

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"mipvpn/client/config"
	"mipvpn/client/config/draft"
)

// interview gathers a configuration from flags and, where it may ask, from answers.
type interview struct {
	*app
	ctx   context.Context
	d     *draft.Draft
	stage *draft.Stage
	doc   written
	// from are the files that the flags name.
	from struct {
		internal, external, psk, certificate, key string
		anchors                                   []string
	}
	asks, noExternal, newKeys bool
	// undecided says that nothing says whether there is an x-HA.
	undecided bool
}

// The names of the files beside the configuration.
const (
	internalKeyName = "i-ha.key"
	externalKeyName = "x-ha.key"
	pskName         = "gateway.psk"
	certificateName = "laptop"
	privateKeyName  = "laptop.key"
	anchorName      = "company-ca"
)

// maxGiven is the greatest length of a file that a flag names, in octets.
const maxGiven = 1 << 20

// gather sets every key and file.
func (i *interview) gather() error {
	steps := []func() error{
		func() error {
			return i.text("enterprise.prefixes", "Networks of the company, with commas between, such as 10.0.0.0/8", "", false)
		},
		func() error {
			return i.homeAgent("internal_home_agent", "i-HA (the home agent inside)", i.from.internal, i.named(internalKeyName))
		},
		i.external,
		func() error {
			return i.text("gateway.address", "VPN gateway: address or name", "", false)
		},
		i.identities,
		i.authentication,
		i.names,
	}
	for _, step := range steps {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

// named returns the name of a file beside the configuration.
func (i *interview) named(name string) string { return draft.PrefixOf(i.stage.Path()) + name }

// text asks for the value of a key, until it can be used; an empty answer is the standard, or leaves an optional key out.
func (i *interview) text(key, question, standard string, optional bool) error {
	if i.d.Has(key) || !i.asks {
		return nil
	}
	switch {
	case standard != "":
		question += " [" + standard + "]"
	case optional && !strings.Contains(question, "(empty"):
		question += " (empty for none)"
	}
	for {
		answer, err := i.question(i.ctx, question+": ")
		if err != nil {
			return failed(fmt.Errorf("nothing was written: %w", err))
		}
		if answer = strings.TrimSpace(answer); answer == "" {
			answer = standard
		}
		if answer == "" && optional {
			return nil
		}
		if err = i.d.SetText(key, answer); err == nil {
			return nil
		}
		fmt.Fprintf(i.err, "  %s\n", printable(err.Error()))
	}
}

// homeAgent gathers one registration.
func (i *interview) homeAgent(table, name, from, keyName string) error {
	if err := i.text(table+".address", "Address of the "+name, "", false); err != nil {
		return err
	}
	if err := i.text(table+".home_address", "  the laptop's home address there (empty where it is assigned)", "", true); err != nil {
		return err
	}
	if !i.d.Has(table + ".home_address") {
		if err := i.text(table+".nai", "  the laptop's network access identifier there, such as laptop@corp.example", "", false); err != nil {
			return err
		}
	}
	if err := i.text(table+".spi", "  SPI of the key, a number over 255", "", false); err != nil {
		return err
	}
	return i.secret(table+".key_file", keyName, from, "  the key, in hexadecimal digits (not shown; empty to make a new one)", parsesAs(config.ParseKey))
}

// external gathers the registration with the x-HA, if there is one.
func (i *interview) external() error {
	const table = "external_home_agent"
	if i.noExternal {
		if i.d.HasTable(table) || i.from.external != "" {
			return errors.New("--no-external-home-agent and flags about the x-HA exclude each other")
		}
		return nil
	}
	if !i.d.HasTable(table) && i.asks {
		if err := i.text(table+".address", "x-HA (the home agent outside): address or name", "", true); err != nil {
			return err
		}
	}
	if !i.d.HasTable(table) && i.from.external == "" && i.asks {
		return nil
	}
	if !i.d.HasTable(table) && i.from.external == "" { // it is not to be left out by mistake
		i.undecided = true
		return nil
	}
	return i.homeAgent(table, "x-HA", i.from.external, i.named(externalKeyName))
}

// identities gathers the identities of IKE.
func (i *interview) identities() error {
	if err := i.text("gateway.local_identity", "  IKE identity of the laptop, such as laptop@corp.example", i.d.Text("internal_home_agent.nai"), false); err != nil {
		return err
	}
	return i.text("gateway.remote_identity", "  IKE identity of the gateway", i.d.Text("gateway.address"), false)
}

// authentication gathers what laptop and gateway prove their identities with.
func (i *interview) authentication() error {
	if !i.d.Has("authentication.rounds") {
		standard := string(config.RoundPSK)
		if i.from.certificate != "" || i.from.key != "" {
			standard = string(config.RoundCertificate)
		}
		if i.from.psk == "" && i.from.certificate == "" && i.from.key == "" {
			if err := i.text("authentication.rounds", "  how the laptop proves it: psk, certificate, eap-mschapv2, eap-tls or eap-ttls", standard, false); err != nil {
				return err
			}
		}
		if !i.d.Has("authentication.rounds") && standard != string(config.RoundPSK) {
			if err := i.d.Set("authentication.rounds", []string{standard}); err != nil {
				return err
			}
		}
	}
	a := config.Authentication{}
	for _, r := range i.d.Texts("authentication.rounds") {
		a.Rounds = append(a.Rounds, config.Round(r))
	}
	for _, g := range i.d.Texts("authentication.gateway") {
		a.Gateway = append(a.Gateway, config.GatewayProof(g))
	}
	if a.NeedsPSK() {
		if err := i.secret("gateway.psk_file", i.named(pskName), i.from.psk, "  the pre-shared key (not shown; empty to make a new one)", parsesAs(config.ParsePSK)); err != nil {
			return err
		}
	}
	if a.UsesCertificate() {
		if err := i.certificate(); err != nil {
			return err
		}
	}
	if a.UsesPassword() {
		if err := i.text("authentication.user", "  user for EAP (its password is asked for by mipvpn up)", i.d.Text("gateway.local_identity"), false); err != nil {
			return err
		}
	}
	if a.NeedsTrust() {
		return i.anchors()
	}
	return nil
}

// certificate gathers the laptop's certificate and its private key.
func (i *interview) certificate() error {
	from, err := i.path(i.from.certificate, "authentication.certificate", "  file of the laptop's certificate, in PEM, or in PKCS#12 with its key", i.from.key != "")
	if err != nil || from == "" && i.from.key == "" {
		return err
	}
	if from != "" {
		extension := strings.ToLower(filepath.Ext(from))
		if !slices.Contains([]string{".p12", ".pfx"}, extension) {
			extension = ".pem"
		}
		if err := i.copy("authentication.certificate", i.named(certificateName+extension), from, true); err != nil {
			return err
		}
	}
	key := i.from.key
	switch {
	case key == "":
		return nil
	case strings.HasPrefix(key, "pkcs11:"), strings.HasPrefix(key, "tpm2:"):
		return i.d.Set("authentication.key", key)
	}
	return i.copy("authentication.key", i.named(privateKeyName), key, true)
}

// anchors gathers the certification authorities.
func (i *interview) anchors() error {
	if i.d.Has("trust.anchors") {
		return nil
	}
	from := i.from.anchors
	if len(from) == 0 {
		path, err := i.path("", "trust.anchors", "  file of the certification authority of the gateway", false)
		if err != nil || path == "" {
			return err
		}
		from = []string{path}
	}
	var names []string
	for n, path := range from {
		name := i.named(anchorName + ".pem")
		if n > 0 {
			name = i.named(fmt.Sprintf("%s-%d.pem", anchorName, n+1))
		}
		if err := i.copy("", name, path, false); err != nil {
			return err
		}
		names = append(names, name)
	}
	return i.d.Set("trust.anchors", names)
}

// names gathers how the company's names are resolved.
func (i *interview) names() error {
	if err := i.text("dns.domains", "Domains of the company, with commas between", "", true); err != nil || !i.d.Has("dns.domains") {
		return err
	}
	return i.text("dns.servers", "  their name servers, with commas between", "", true)
}

// path returns the path that a flag has given, or that is answered; empty for none.
func (i *interview) path(given, key, question string, optional bool) (string, error) {
	if given != "" || i.d.Has(key) || !i.asks || optional {
		return given, nil
	}
	for {
		answer, err := i.question(i.ctx, question+": ")
		if err != nil {
			return "", failed(fmt.Errorf("nothing was written: %w", err))
		}
		answer = strings.TrimSpace(answer)
		if info, err := os.Stat(answer); err == nil && info.Mode().IsRegular() {
			return answer, nil
		}
		fmt.Fprintf(i.err, "  %s is no file that can be read\n", printable(fmt.Sprintf("%q", answer)))
	}
}

// copy puts what is in a file beside the configuration, and names it by the key, if there is one.
func (i *interview) copy(key, name, from string, secret bool) error {
	data, err := readGiven(from)
	if err != nil {
		return failed(err)
	}
	if i.isThere(name, from) {
		clear(data)
	} else {
		i.d.Add(draft.File{Name: name, Data: data, Secret: secret})
	}
	if key == "" {
		return nil
	}
	return i.d.Set(key, name)
}

// isThere reports whether the file is the one of that name beside the configuration, and notes it.
func (i *interview) isThere(name, from string) bool {
	given, err := os.Stat(from)
	present, err2 := os.Stat(i.stage.Beside(name))
	if err != nil || err2 != nil || !os.SameFile(given, present) {
		return false
	}
	i.doc.Kept = append(i.doc.Kept, i.stage.Beside(name))
	return true
}

// secret gathers a key: from a file, from the one that is there, made new, or typed.
func (i *interview) secret(key, name, from, question string, parse func([]byte) error) error {
	beside := i.stage.Beside(name)
	switch {
	case from != "":
		data, err := readGiven(from)
		if err == nil {
			if err = parse(data); err != nil {
				err = fmt.Errorf("%s: %w", from, err)
			}
		}
		if err != nil {
			clear(data)
			return failed(err)
		}
		if i.isThere(name, from) {
			clear(data)
			return i.d.Set(key, name)
		}
		return i.put(key, name, data)
	case i.d.Has(key):
		return nil
	}
	if _, err := os.Lstat(beside); err == nil {
		i.doc.Kept = append(i.doc.Kept, beside)
		return i.d.Set(key, name)
	} else if !errors.Is(err, fs.ErrNotExist) {
		return failed(err)
	}
	for i.asks && !i.newKeys {
		typed, err := i.prompt(i.ctx, question)
		if err != nil {
			return failed(fmt.Errorf("nothing was written: %w", err))
		}
		if len(typed) == 0 {
			return i.makeKey(key, name)
		}
		if err = parse(typed); err == nil {
			return i.put(key, name, append(typed, '\n'))
		}
		clear(typed)
		fmt.Fprintf(i.err, "  %s\n", strings.Replace(err.Error(), "the file holds", "that is", 1))
	}
	if i.newKeys {
		return i.makeKey(key, name)
	}
	return nil // Check says that it is missing
}

// makeKey makes a key of 128 bits.
func (i *interview) makeKey(key, name string) error {
	octets := make([]byte, 16)
	defer clear(octets)
	_, _ = rand.Read(octets) // which never fails
	text := append(hex.AppendEncode(nil, octets), '\n')
	if key == "gateway.psk_file" { // where text would be text
		text = append([]byte("0x"), text...)
	}
	i.doc.New = append(i.doc.New, i.stage.Beside(name))
	return i.put(key, name, text)
}

func (i *interview) put(key, name string, data []byte) error {
	i.d.Add(draft.File{Name: name, Data: data, Secret: true})
	return i.d.Set(key, name)
}

// parsesAs returns a check of a secret file's content.
func parsesAs(parse func([]byte) (config.Secret, error)) func([]byte) error {
	return func(data []byte) error {
		s, err := parse(data)
		clear(s)
		return err
	}
}

// readGiven reads a file that a person has named.
func readGiven(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxGiven+1))
	if err == nil && len(data) > maxGiven {
		err = fmt.Errorf("%s is longer than %d octets", path, maxGiven)
	}
	return data, err
}
