package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/pelletier/go-toml/v2"

	"mipvpn/client/permission"
	"mipvpn/mipv4/auth"
	"mipvpn/mipv4/homeagent"
)

// maxMobileNodes is the greatest length of a file with mobile nodes in octets.
const maxMobileNodes = 64 << 20

// maxMistakes is how many mistakes in files with mobile nodes are told at once.
const maxMistakes = 10

// mobileNodesFile is a file that the key mobile_nodes names, or one of the files in the directory that it names.
type mobileNodesFile struct {
	Schema      int               `toml:"schema"`
	MobileNodes []mobileNodeTable `toml:"mobile_node"`
}

// mobileNodes returns the mobile nodes of a home agent: those in its table, and those in the files that it names.
func (c *configuration) mobileNodes(t *homeAgentTable) ([]mobileNodeTable, error) {
	nodes := slices.Clone(t.MobileNodes)
	for _, n := range nodes {
		if n.Key != "" {
			return nil, fmt.Errorf("mobile_node %s: key belongs into the files that mobile_nodes names; expected key_file here", n.name())
		}
	}
	if t.MobileNodeFiles == "" {
		if len(nodes) == 0 {
			return nil, errors.New("no mobile_node is configured, and mobile_nodes names no file or directory that has them")
		}
		return nodes, nil
	}
	path := t.MobileNodeFiles
	if !filepath.IsAbs(path) {
		path = filepath.Join(c.dir, path)
	}
	more, err := readMobileNodes(path)
	if err != nil {
		return nil, fmt.Errorf("mobile_nodes: %w", err)
	}
	return append(nodes, more...), nil
}

// readMobileNodes reads the mobile nodes of a file, or of all files in a directory whose names end in .toml and do not begin with a
// dot, in the order of the names. A directory may be empty.
func readMobileNodes(path string) ([]mobileNodeTable, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	files := []string{path}
	if info.IsDir() {
		files = nil
		entries, err := os.ReadDir(path)
		if err != nil {
			return nil, err
		}
		for _, e := range entries {
			if name := e.Name(); strings.HasSuffix(name, ".toml") && !strings.HasPrefix(name, ".") {
				files = append(files, filepath.Join(path, name))
			}
		}
	}
	var nodes []mobileNodeTable
	var mistakes []error
	for _, file := range files {
		more, err := readMobileNodesFile(file)
		if err != nil {
			if mistakes = append(mistakes, err); len(mistakes) == maxMistakes {
				break
			}
		}
		nodes = append(nodes, more...)
	}
	return nodes, errors.Join(mistakes...)
}

// readMobileNodesFile reads one of the files. With keys in it, it must be open to its owner alone.
func readMobileNodesFile(file string) ([]mobileNodeTable, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if info.Size() > maxMobileNodes {
		return nil, fmt.Errorf("%s has %d octets, at most %d are read", file, info.Size(), maxMobileNodes)
	}
	data, err := io.ReadAll(io.LimitReader(f, maxMobileNodes+1))
	if err != nil {
		return nil, err
	}
	defer clear(data)
	nodes, err := parseMobileNodes(file, data)
	if err != nil {
		return nil, err
	}
	if slices.ContainsFunc(nodes, func(n mobileNodeTable) bool { return n.Key != "" }) {
		if err := permission.Private(f); err != nil {
			return nil, fmt.Errorf("it has keys in it: %w", err)
		}
	}
	return nodes, nil
}

// parseMobileNodes decodes one of the files strictly. Errors begin with "file:line: " where the line is known.
func parseMobileNodes(file string, data []byte) ([]mobileNodeTable, error) {
	if len(data) > maxMobileNodes {
		return nil, fmt.Errorf("%s has %d octets, at most %d are read", file, len(data), maxMobileNodes)
	}
	var f mobileNodesFile
	d := toml.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(&f); err != nil {
		return nil, errors.New(describe(file, err))
	}
	if f.Schema != schema {
		return nil, fmt.Errorf("%s: schema = %d was found, this program reads schema = %d, which must be the file's first key", file, f.Schema, schema)
	}
	line, rest := 0, data
	for i := range f.MobileNodes {
		n := &f.MobileNodes[i]
		n.association.dir, n.association.key = filepath.Dir(file), n.Key
		for n.place == "" {
			before, after, more := bytes.Cut(rest, []byte("\n"))
			rest = after
			line++
			switch {
			case bytes.HasPrefix(bytes.TrimSpace(before), []byte("[[mobile_node]]")):
				n.place = fmt.Sprintf("%s:%d: ", file, line)
			case !more: // a form that TOML allows beside the usual one
				n.place = file + ": "
			}
		}
		if n.Key != "" && n.KeyFile != "" {
			return nil, fmt.Errorf("%smobile_node %s: expected key or key_file, both were found", n.place, n.name())
		}
	}
	return f.MobileNodes, nil
}

// served makes the mobile nodes of a home agent of their tables: those with the same NAI, or without one with the same home address,
// are one, with several security associations.
func (c *configuration) served(nodes []mobileNodeTable, homeNetworks []netip.Prefix, internal bool) ([]homeagent.MobileNode, error) {
	var out []homeagent.MobileNode
	var mistakes []error
	at := make(map[homeagent.Identity]int, len(nodes))
	for _, n := range nodes {
		a, err := c.mobileSecurity(n)
		node := homeagent.MobileNode{HomeAddress: n.HomeAddress, NAI: n.NAI, Associations: []*auth.SecurityAssociation{a},
			Limits: homeagent.Limits{MaxLifetime: time.Duration(n.MaxLifetime), Bindings: n.Bindings, Requests: n.MaxRequests}}
		i, known := at[node.Identity()]
		switch {
		case err != nil:
		case internal && !a.Strong():
			err = fmt.Errorf("%v is too weak for an internal home agent: expected 128 bits or more and no keyed MD5 (RFC 5265 §6.1)", a)
		case n.HomeAddress.IsValid() && !slices.ContainsFunc(homeNetworks, func(p netip.Prefix) bool { return p.Contains(n.HomeAddress) }):
			err = fmt.Errorf("the home address is in none of the home networks %v", homeNetworks)
		case known && out[i].HomeAddress != n.HomeAddress:
			err = fmt.Errorf("it has the home address %v in another table", out[i].HomeAddress)
		case known && slices.ContainsFunc(out[i].Associations, func(o *auth.SecurityAssociation) bool { return o.SPI() == a.SPI() }):
			err = fmt.Errorf("SPI %d is there twice", a.SPI())
		case known && node.Limits != (homeagent.Limits{}) && out[i].Limits != node.Limits:
			err = errors.New("it has other limits in another table: expected them in the first one alone")
		case known:
			out[i].Associations = append(out[i].Associations, a)
		default:
			at[node.Identity()] = len(out)
			out = append(out, node)
		}
		if err != nil {
			if mistakes = append(mistakes, fmt.Errorf("%smobile_node %s: %w", n.place, n.name(), err)); len(mistakes) == maxMistakes {
				break
			}
		}
	}
	return out, errors.Join(mistakes...)
}
