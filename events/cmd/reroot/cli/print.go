package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"
	"sigs.k8s.io/yaml"
)

// format is the value of a command's --output; "" is for people.
type format string

// Formats. A command offers those that make sense for it.
const (
	asText   format = ""
	asWide   format = "wide"
	asName   format = "name"
	asJSON   format = "json"
	asYAML   format = "yaml"
	asNDJSON format = "ndjson"
)

// formatFlag adds --output to a command.
func (a *app) formatFlag(cmd *cobra.Command, into *format, offered ...format) {
	names := make([]string, len(offered))
	for i, f := range offered {
		names[i] = string(f)
	}
	cmd.Flags().VarP(&choice[format]{into, names}, "output", "o", "one of "+strings.Join(names, ", "))
	a.complete(cmd, "output", constant(names...))
}

// choice is a flag that takes one of a few words.
type choice[T ~string] struct {
	value *T
	of    []string
}

func (c *choice[T]) String() string { return string(*c.value) }
func (c *choice[T]) Type() string   { return "string" }

// Set takes a word in any case.
func (c *choice[T]) Set(s string) error {
	i := slices.IndexFunc(c.of, func(o string) bool { return strings.EqualFold(o, s) })
	if i < 0 {
		return fmt.Errorf("must be one of %s", strings.Join(c.of, ", "))
	}
	*c.value = T(c.of[i])
	return nil
}

// encode writes v as JSON, indented or in one line, or as YAML.
func encode(w io.Writer, f format, v any) error {
	var err error
	if f == asYAML {
		var b []byte
		if b, err = yaml.Marshal(v); err == nil {
			_, err = w.Write(b)
		}
	} else {
		enc := json.NewEncoder(w)
		enc.SetEscapeHTML(false)
		if f != asNDJSON {
			enc.SetIndent("", "  ")
		}
		err = enc.Encode(v)
	}
	if err != nil {
		return fmt.Errorf("cannot write the answer: %w", err)
	}
	return nil
}

// table writes rows in columns. The first row is the header.
func table(w io.Writer, rows [][]string) error {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, row := range rows {
		for i := range row {
			if row[i] = printable(row[i]); row[i] == "" {
				row[i] = "-" // an empty cell would shift the columns for who splits at spaces
			}
		}
		fmt.Fprintln(tw, strings.Join(row, "\t"))
	}
	if err := tw.Flush(); err != nil {
		return fmt.Errorf("cannot write the table: %w", err)
	}
	return nil
}
