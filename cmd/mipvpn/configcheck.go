package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"mipvpn/client/config"
)

// checked is the document of `config check --json`.
type checked struct {
	Schema   int             `json:"schema"`
	File     string          `json:"file"`
	Valid    bool            `json:"valid"`
	Errors   []checkedError  `json:"errors"`
	Warnings []checkedRemark `json:"warnings"`
}

type checkedError struct {
	checkedRemark
	Valid string `json:"valid,omitempty"`
}

type checkedRemark struct {
	Line    int    `json:"line"`
	Key     string `json:"key,omitempty"`
	Message string `json:"message"`
}

func (a *app) config() *cobra.Command {
	parent := &cobra.Command{
		Use: "config", Short: "Work with configuration files", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	c := &cobra.Command{
		Use: "check [FILE]", Short: "Check a configuration file and the secrets that it names", Args: cobra.MaximumNArgs(1),
		Long: "Check a configuration file and the secrets that it names, by default that in use. Errors name file, line, what was\nfound and what would be valid. No daemon is needed.",
	}
	asJSON := jsonFlag(c)
	c.RunE = func(cmd *cobra.Command, args []string) error {
		if len(args) == 1 {
			return a.check(args[0], *asJSON)
		}
		path, err := a.used(cmd, config.DefaultPath)
		if err != nil {
			return failed(err)
		}
		return a.check(path, *asJSON)
	}
	schema := &cobra.Command{
		Use: "schema", Short: "Print the JSON Schema of configurations, for editors", Args: cobra.NoArgs,
		Long: "Print the JSON Schema of configurations. Editors complete and check keys with it: packages have it in\n" + config.SchemaPath + ", and a first line\n" + config.SchemaLine + "\nin the configuration leads there. What concerns several keys only `mipvpn config check` knows.",
		RunE: func(*cobra.Command, []string) error {
			text, err := config.JSONSchema()
			if err != nil {
				return failed(err)
			}
			_, err = a.out.Write(text)
			return failed(err)
		},
	}
	parent.AddCommand(c, schema)
	return parent
}

// check checks a configuration file and the secrets that it names, and says what is wrong.
func (a *app) check(path string, asJSON bool) error {
	cfg, err := config.Load(path)
	errs, understood := errors.AsType[config.Errors](err)
	if err != nil && !understood {
		return failed(err)
	}
	doc := checked{Schema: 1, File: path, Valid: err == nil, Errors: []checkedError{}, Warnings: []checkedRemark{}}
	for _, e := range errs {
		doc.Errors = append(doc.Errors, checkedError{checkedRemark{e.Line, e.Key, e.Message}, e.Valid})
	}
	if cfg != nil {
		defer cfg.Wipe()
		for _, w := range cfg.Warnings {
			doc.Warnings = append(doc.Warnings, checkedRemark{w.Line, w.Key, w.Message})
		}
	}
	if asJSON {
		if err := writeJSON(a.out, doc); err != nil {
			return failed(err)
		}
	} else {
		for _, w := range doc.Warnings {
			fmt.Fprintf(a.err, "%s: warning: %s: %s\n", place(path, w.Line), w.Key, w.Message)
		}
		if doc.Valid {
			if _, err := fmt.Fprintf(a.out, "%s is valid\n", path); err != nil {
				return failed(err)
			}
		}
	}
	if err != nil {
		return failed(fmt.Errorf("%s cannot be used\n%w", path, err))
	}
	return nil
}

func place(file string, line int) string {
	if line == 0 {
		return file
	}
	return fmt.Sprintf("%s:%d", file, line)
}
