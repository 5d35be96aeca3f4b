package main

import (
	"fmt"
	"io"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

// build is the document of `version --json`.
type build struct {
	Schema   int    `json:"schema"`
	Version  string `json:"version"`
	Revision string `json:"revision"`
	Modified bool   `json:"modified"`
	Go       string `json:"go"`
	System   string `json:"system"`
	// Features is there on request.
	Features []feature `json:"features,omitempty"`
}

func thisBuild() build {
	b := build{Schema: 1, Version: "unknown", Revision: "unknown", Go: runtime.Version(), System: runtime.GOOS + "/" + runtime.GOARCH}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return b
	}
	b.Version = info.Main.Version
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			b.Revision = s.Value
		case "vcs.modified":
			b.Modified = s.Value == "true"
		}
	}
	return b
}

func writeVersion(w io.Writer, b build) error {
	_, err := fmt.Fprintf(w, "mipvpn %s (revision %s, %s, %s)\n", b.Version, b.Revision, b.Go, b.System)
	return err
}

func (a *app) version() *cobra.Command {
	c := &cobra.Command{Use: "version", Short: "Show the version of this program", Args: cobra.NoArgs}
	asJSON := jsonFlag(c)
	withFeatures := c.Flags().Bool("features", false, "show what the program can do on this system, and whether it has been run on it")
	c.RunE = func(*cobra.Command, []string) error {
		b := thisBuild()
		if *withFeatures {
			b.Features = features()
		}
		if *asJSON {
			return failed(writeJSON(a.out, b))
		}
		err := writeVersion(a.out, b)
		if err == nil && *withFeatures {
			err = writeFeatures(a.out, b.Features)
		}
		return failed(err)
	}
	return c
}
