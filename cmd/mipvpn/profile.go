package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"mipvpn/client/config"
	"mipvpn/client/config/profile"
	"mipvpn/client/control"
)

// profiles returns the profiles around a base.
func (a *app) profiles(base string) (profile.Set, error) {
	base, err := filepath.Abs(base)
	if err != nil {
		return profile.Set{}, err
	}
	s := profile.Set{Base: base, State: a.state}
	if s.State == "" {
		s.State = profile.DefaultState
	}
	return s, nil
}

// chosen returns the path of the configuration that is in use around a base.
func (a *app) chosen(base string) (string, error) {
	s, err := a.profiles(base)
	if err != nil {
		return "", err
	}
	p, err := s.Chosen()
	return p.File, err
}

// used returns the path of the configuration in use: the running daemon's, which may have been started with another one than the
// default, unless the command line names one.
func (a *app) used(cmd *cobra.Command, base string) (string, error) {
	if !cmd.Flags().Changed("config") {
		var doc control.Profiles
		err := a.ask(cmd.Context(), func(c *control.Client) (err error) { doc, err = c.Profiles(cmd.Context()); return err })
		for _, p := range doc.Profiles {
			if err == nil && p.Chosen {
				return p.File, nil
			}
		}
	}
	return a.chosen(base)
}

// listed are the profiles as a document.
func listed(s profile.Set) (control.Profiles, error) {
	all, err := s.List()
	if err != nil {
		return control.Profiles{}, err
	}
	chosen, err := s.Chosen()
	if err != nil && !errors.Is(err, profile.ErrUnknown) && !errors.Is(err, profile.ErrState) {
		return control.Profiles{}, err
	}
	doc := control.Profiles{Schema: control.Schema, Profiles: []control.Profile{}}
	for _, p := range all {
		doc.Profiles = append(doc.Profiles, control.Profile{Name: p.Name, File: p.File, Chosen: err == nil && p == chosen})
	}
	return doc, nil
}

func (a *app) profile() *cobra.Command {
	parent := &cobra.Command{
		Use: "profile", Short: "Have several configurations, and use one of them", Args: cobra.NoArgs,
		Long: "Have several configurations, and use one of them. Beside mipvpn.toml, the profile \"default\", each file\nprofiles.d/NAME.toml is a whole configuration of its own; paths in it begin at its own folder. The choice outlives the\ndaemon and the system.",
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	file := parent.PersistentFlags().String("config", config.DefaultPath, "the default configuration, where no daemon answers")
	// known asks the daemon, or looks itself where there is none.
	known := func(ctx context.Context) (control.Profiles, error) {
		var doc control.Profiles
		err := a.ask(ctx, func(c *control.Client) (err error) { doc, err = c.Profiles(ctx); return err })
		if errors.Is(err, control.ErrUnreachable) {
			s, err := a.profiles(*file)
			if err != nil {
				return doc, failed(err)
			}
			doc, err = listed(s)
			return doc, failed(err)
		}
		return doc, err
	}
	list := &cobra.Command{Use: "list", Short: "List the profiles, with a * before the one in use", Args: cobra.NoArgs}
	listJSON := jsonFlag(list)
	list.RunE = func(cmd *cobra.Command, _ []string) error {
		doc, err := known(cmd.Context())
		if err != nil {
			return err
		}
		if *listJSON {
			return failed(writeJSON(a.out, doc))
		}
		w := tabwriter.NewWriter(a.out, 0, 0, 2, ' ', 0)
		for _, p := range doc.Profiles {
			fmt.Fprintf(w, "%s %s\t%s\n", map[bool]string{true: "*", false: " "}[p.Chosen], p.Name, printable(p.File))
		}
		return failed(w.Flush())
	}
	show := &cobra.Command{Use: "show [NAME]", Short: "Check a profile, by default the one in use, and show where it is", Args: cobra.MaximumNArgs(1)}
	showJSON := jsonFlag(show)
	show.RunE = func(cmd *cobra.Command, args []string) error {
		doc, err := known(cmd.Context())
		if err != nil {
			return err
		}
		for _, p := range doc.Profiles {
			if len(args) == 1 && p.Name == args[0] || len(args) == 0 && p.Chosen {
				if !*showJSON {
					fmt.Fprintf(a.out, "%s\t%s\n", p.Name, printable(p.File))
				}
				return a.check(p.File, *showJSON)
			}
		}
		if len(args) == 0 {
			return failed(errors.New("the profile that was chosen is not there: `mipvpn profile use NAME` chooses another one"))
		}
		return failed(fmt.Errorf("%w as %.80q: `mipvpn profile list` shows those that there are", profile.ErrUnknown, args[0]))
	}
	use := &cobra.Command{
		Use: "use NAME", Short: "Use another profile from now on", Args: cobra.ExactArgs(1),
		Long: "Use another profile from now on. A running daemon takes it over at once, where it can without ending connections; what\ncannot go on, such as a connection from another home address, is made anew, and enterprise traffic is blocked meanwhile. A\nprofile with mistakes changes nothing. Without a daemon it is used when one starts. For administrators.",
	}
	useJSON := jsonFlag(use)
	use.RunE = func(cmd *cobra.Command, args []string) error {
		if args[0] == "" {
			return errors.New("the profile's name is empty: `mipvpn profile list` shows the names")
		}
		var r control.Reload
		err := a.ask(cmd.Context(), func(c *control.Client) (err error) { r, err = c.UseProfile(cmd.Context(), args[0]); return err })
		if errors.Is(err, control.ErrUnreachable) {
			if err := a.choose(*file, args[0]); err != nil {
				return failed(err)
			}
			if *useJSON {
				return failed(writeJSON(a.out, control.Reload{Schema: control.Schema, Changed: []string{}, Renewed: []string{}, Warnings: []string{}}))
			}
			_, err = fmt.Fprintf(a.out, "%s is used when the daemon starts\n", args[0])
			return failed(err)
		}
		if err != nil {
			return err
		}
		if *useJSON {
			return failed(writeJSON(a.out, r))
		}
		for _, w := range r.Warnings {
			fmt.Fprintf(a.err, "warning: %s\n", printable(w))
		}
		_, err = fmt.Fprintf(a.out, "%s is in use; %s\n", args[0], reloadLine(r))
		return failed(err)
	}
	names := func(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
		doc, err := known(cmd.Context())
		if err != nil || len(args) > 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		var all []string
		for _, p := range doc.Profiles {
			all = append(all, p.Name)
		}
		return all, cobra.ShellCompDirectiveNoFileComp
	}
	use.ValidArgsFunction, show.ValidArgsFunction = names, names
	parent.AddCommand(list, show, use)
	return parent
}

// choose chooses a profile without a daemon. Its configuration is checked first.
func (a *app) choose(base, name string) error {
	s, err := a.profiles(base)
	if err != nil {
		return err
	}
	p, err := s.Find(name)
	if err != nil {
		return err
	}
	cfg, err := config.Load(p.File)
	if err != nil {
		return fmt.Errorf("%s cannot be used, and nothing has been changed\n%w", p.File, err)
	}
	cfg.Wipe()
	return s.Choose(name)
}

// Profiles implements control.Profiler.
func (s *service) Profiles() (control.Profiles, error) { return listed(s.profiles) }

// InUse implements control.Profiler.
func (s *service) InUse() string { return *s.inUse.Load() }

// UseProfile implements control.Profiler: the configuration is taken first, and the choice kept once that has been done.
func (s *service) UseProfile(ctx context.Context, name string) (control.Reload, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, err := s.profiles.Find(name); err != nil {
		return control.Reload{}, err
	}
	r, err := s.take(ctx, true, func() (profile.Profile, error) { return s.profiles.Find(name) })
	if err != nil {
		return r, err
	}
	if err := s.profiles.Choose(name); err != nil {
		return r, fmt.Errorf("%s is in use, but only until the daemon ends, because the choice could not be kept: %w", name, err)
	}
	return r, nil
}
