package main

import (
	"bytes"
	"fmt"
	"io"
	"text/tabwriter"

	"mipvpn/stack"
)

// feature is what the program can do on this system, in the document of `version --features --json`.
type feature struct {
	// Name is a mode, such as "mode cvc", or a part of the program.
	Name string `json:"name"`
	// State is "tried" where tests run it on this system, "untried" where it is built and has not been run on a real machine, and
	// "unavailable".
	State string `json:"state"`
	// Remark says why it is unavailable, or what is different here.
	Remark string `json:"remark"`
}

// The states.
const (
	featureTried       = "tried"
	featureUntried     = "untried"
	featureUnavailable = "unavailable"
)

// parts are the features beside the modes that each system has or has not.
const (
	featureKillSwitch = "kill switch"
	featureNames      = "names of the enterprise"
	featurePortal     = "browser for captive portals"
	featureSleep      = "announcement of sleep"
	featureService    = "service"
)

// modeFeatures returns a feature for each access mode: what the system has not a mode needs is told by the two reasons, empty where
// the system has it.
func modeFeatures(state, noPlaintext, noFrames string) (list []feature) {
	for _, m := range stack.Modes() {
		comp, _ := m.Composition()
		f := feature{Name: "mode " + string(m), State: state}
		switch {
		case !comp.VPN && noPlaintext != "":
			f.State, f.Remark = featureUnavailable, noPlaintext
		case comp.ForeignAgent && noFrames != "":
			f.State, f.Remark = featureUnavailable, noFrames
		}
		list = append(list, f)
	}
	return list
}

func writeFeatures(w io.Writer, list []feature) error {
	var b bytes.Buffer
	t := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	for _, f := range list {
		fmt.Fprintf(t, "%s\t%s\t%s\n", f.Name, f.State, f.Remark)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	return plain(w, b.String())
}
