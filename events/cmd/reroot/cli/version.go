package cli

import (
	"context"
	"fmt"
	"runtime/debug"

	"github.com/spf13/cobra"

	"github.com/reroot-dev/reroot/events"
	"github.com/reroot-dev/reroot/events/seed"
)

// build is what the program is made from.
type build struct {
	Version    string `json:"version"` // of the module, "(devel)" when it is not a release
	Go         string `json:"go"`
	EventTypes int    `json:"eventTypes"`
	SeedFormat int    `json:"seedFormat"`
}

func (a *app) versionCommand() *cobra.Command {
	var output format
	cmd := &cobra.Command{
		Use:   "version",
		Short: "print the version, and what it understands",
		Example: `  reroot version
  reroot version -o json
  reroot version -o yaml`,
		Args: cobra.NoArgs,
	}
	a.formatFlag(cmd, &output, asJSON, asYAML)
	cmd.RunE = a.run(func(context.Context, []string) error {
		b := build{Version: "unknown", EventTypes: len(events.Catalogue()), SeedFormat: seed.FormatVersion}
		if info, ok := debug.ReadBuildInfo(); ok {
			b.Version, b.Go = info.Main.Version, info.GoVersion
		}
		if output != asText {
			return encode(a.Out, output, b)
		}
		_, err := fmt.Fprintf(a.Out, "reroot %s, %s, %d event types, seed format %d\n", b.Version, b.Go, b.EventTypes, b.SeedFormat)
		return err
	})
	return cmd
}
