package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"mipvpn/client/config"
	"mipvpn/client/config/draft"
	"mipvpn/client/config/strongswan"
)

// importedTables are the tables that a VPN profile is about.
var importedTables = []string{"gateway", "authentication", "trust"}

// imported is the document of `import --json`.
type imported struct {
	Schema int    `json:"schema"`
	Name   string `json:"name"`
	// TOML are the tables, Files the names of the files that belong beside them, and Remarks what was not carried over.
	TOML    string           `json:"toml"`
	Files   []string         `json:"files"`
	Remarks []importedRemark `json:"remarks"`
	// File is the configuration that was changed, empty for none.
	File string `json:"file,omitempty"`
}

type importedRemark struct {
	Where   string `json:"where"`
	Message string `json:"message"`
}

func (a *app) importer() *cobra.Command {
	c := &cobra.Command{
		Use: "import FILE", Short: "Take the VPN part of a configuration over from strongSwan", Args: cobra.ExactArgs(1),
		Long: "Take the VPN gateway, the identities, certificates and secrets over from a profile of strongSwan's app (.sswan) or from a\nconnection of swanctl.conf, and name what was not carried over. The tables are printed, and nothing is written: with --write they\ntake the place of [gateway], [authentication] and [trust] in the configuration, with their files beside it.\n`mipvpn init --import FILE` makes a new configuration. What a swanctl.conf names is read below its own folder alone.",
	}
	asJSON := jsonFlag(c)
	connection := c.Flags().String("connection", "", "`NAME` of the connection in swanctl.conf, where there are several")
	write := c.Flags().Bool("write", false, "put the tables into the configuration")
	force := c.Flags().Bool("force", false, "overwrite files that are there beside the configuration")
	file := c.Flags().String("config", config.DefaultPath, "configuration to change with --write")
	c.RunE = func(_ *cobra.Command, args []string) error {
		r, err := strongswan.Read(args[0], *connection)
		if err != nil {
			return failed(err)
		}
		defer r.Draft.Wipe()
		doc := imported{Schema: 1, Name: r.Name, TOML: string(r.Draft.Part(importedTables...)), Files: []string{}, Remarks: remarksOf(r)}
		for _, f := range r.Draft.Files() {
			doc.Files = append(doc.Files, f.Name)
		}
		var warnings []config.Warning
		if *write {
			if doc.File, err = filepath.Abs(*file); err != nil {
				return failed(err)
			}
			r.Draft.Prefix(draft.PrefixOf(doc.File))
			if warnings, err = writeImported(doc.File, r.Draft, *force); err != nil {
				return failed(adviseInit(err))
			}
		}
		if *asJSON {
			return failed(writeJSON(a.out, doc))
		}
		a.tellRemarks(doc.Remarks)
		for _, w := range warnings {
			fmt.Fprintf(a.err, "%s: warning: %s: %s\n", place(doc.File, w.Line), w.Key, printable(w.Message))
		}
		if *write {
			fmt.Fprintf(a.out, "%s has them now, and is valid.\nNext:\n  mipvpn reload\n", printable(doc.File))
			return nil
		}
		if _, err := fmt.Fprint(a.out, printable(doc.TOML)); err != nil {
			return failed(err)
		}
		if len(doc.Files) > 0 {
			fmt.Fprintf(a.err, "The files %q belong beside it: --write, or `mipvpn init --import`, puts them there.\n", doc.Files)
		}
		return nil
	}
	return c
}

// remarksOf returns the remarks for a document.
func remarksOf(r *strongswan.Result) []importedRemark {
	all := []importedRemark{}
	for _, m := range r.Remarks {
		all = append(all, importedRemark{m.Where, m.Message})
	}
	return all
}

// tellRemarks shows what was not carried over.
func (a *app) tellRemarks(remarks []importedRemark) {
	for _, m := range remarks {
		fmt.Fprintf(a.err, "%s: %s\n", printable(m.Where), printable(m.Message))
	}
}

// writeImported puts the tables of a draft into a configuration.
func writeImported(path string, d *draft.Draft, force bool) ([]config.Warning, error) {
	old, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: `mipvpn init --import FILE` makes a configuration", err)
	}
	if err != nil {
		return nil, err
	}
	for _, f := range d.Files() {
		if beside := filepath.Join(filepath.Dir(path), f.Name); !force {
			if _, err := os.Lstat(beside); err == nil {
				return nil, fmt.Errorf("%s is %w", beside, draft.ErrExists)
			}
		}
	}
	s, err := draft.NewStage(path, true)
	if err != nil {
		return nil, err
	}
	warnings, err := s.Install(d, d.Replace(old, importedTables...))
	if errs, understood := errors.AsType[config.Errors](err); understood {
		err = fmt.Errorf("nothing was written, because this could not be used\n%w", errs)
	}
	return warnings, errors.Join(err, s.Close())
}
