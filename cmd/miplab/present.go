package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"mipvpn/cmd/miplab/internal/page"
	"mipvpn/cmd/miplab/internal/recording"
	"mipvpn/cmd/miplab/internal/scenario"
	"mipvpn/cmd/usage"
)

// defaultReport is the file that `miplab report` writes.
const defaultReport = "miplab-report.html"

// headerTime is how long a browser may take to send its request.
const headerTime = 10 * time.Second

func reportCommand() *cobra.Command {
	var o demoOptions
	c := &cobra.Command{
		Use: "report", Short: "Take the laptop on the tour and write what happened as one HTML file", Args: cobra.NoArgs,
		Long: "Play the same tour as `miplab demo` and write it as one HTML file that needs nothing else: the networks, the laptop's way\n" +
			"through them, the headers around a packet, and a time line with a slider. The file is written, and the exit code is 1, if the\n" +
			"tour failed too.",
		RunE: func(cmd *cobra.Command, _ []string) error { return o.run(cmd) },
	}
	c.Flags().StringVarP(&o.report, "output", "o", defaultReport, "file to write")
	o.flags(c.Flags())
	return c
}

// checkListen says what is wrong with the address of the page.
func checkListen(address string) error {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return fmt.Errorf("%w: --listen %s: must be an address and a port, such as 127.0.0.1:8080: %w", usage.ErrWrong, address, err)
	}
	if a, err := netip.ParseAddr(host); host != "localhost" && (err != nil || !a.IsLoopback()) {
		return fmt.Errorf("%w: --listen %s: the page is for this machine alone: give 127.0.0.1 or [::1] and a port, and from elsewhere use ssh -L", usage.ErrWrong, address)
	}
	return nil
}

// open opens the page's socket, nil where there is to be no page. In a user namespace it is the one that the process outside has opened.
func (o demoOptions) open() (net.Listener, error) {
	if !o.web {
		return nil, nil
	}
	l, err := inheritedListener()
	if l == nil && err == nil {
		l, err = net.Listen("tcp", o.listen)
	}
	if err != nil {
		return nil, fmt.Errorf("the page: %w", err)
	}
	return l, nil
}

// present plays the tour with what it is shown in beside the terminal: a page behind the listener, if there is one, until ctx ends,
// and a file.
func (o demoOptions) present(ctx context.Context, l net.Listener, out, errOut io.Writer, play func(o demoOptions, ctx context.Context, out, errOut io.Writer) error) (err error) {
	if l == nil && o.report == "" {
		return play(o, ctx, out, errOut)
	}
	say := o.log(out, errOut)
	o.recording = &recording.Recording{}
	if l != nil {
		server := &http.Server{Handler: page.Handler(o.recording), ReadHeaderTimeout: headerTime}
		served := make(chan error, 1)
		go func() { served <- server.Serve(l) }()
		defer func() {
			err = errors.Join(err, server.Close())
			if end := <-served; !errors.Is(end, http.ErrServerClosed) {
				err = errors.Join(err, fmt.Errorf("the page: %w", end))
			}
		}()
		fmt.Fprintf(say, "The page is http://%s/\n\n", l.Addr())
	}
	var file *os.File
	if o.report != "" {
		// Made before the tour, so that a directory that cannot be written is told at once.
		if file, err = os.CreateTemp(filepath.Dir(o.report), ".miplab-report-*"); err != nil {
			return fmt.Errorf("the report: %w", err)
		}
		defer os.Remove(file.Name()) // gone by then if all went well
		defer file.Close()
	}
	err = play(o, ctx, out, errOut)
	var failed exitError
	if err != nil && !errors.As(err, &failed) {
		o.recording.Add(recording.Moment{Moment: scenario.Moment{Kind: recording.KindEnd, Text: err.Error()}})
		return err
	}
	if file != nil {
		if err := errors.Join(page.WriteReport(file, o.recording), file.Chmod(0o644), file.Sync(), file.Close(), os.Rename(file.Name(), o.report)); err != nil {
			return fmt.Errorf("the report: %w", err)
		}
		fmt.Fprintf(say, "\nThe report is in %s\n", o.report)
	}
	if l != nil && ctx.Err() == nil {
		fmt.Fprintf(say, "\nThe page stays at http://%s/ until you press Ctrl-C.\n", l.Addr())
		<-ctx.Done()
	}
	return err
}
