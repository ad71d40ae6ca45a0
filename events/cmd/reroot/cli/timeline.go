package cli

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/reroot-dev/reroot/events/journal"
	"github.com/reroot-dev/reroot/events/timeline"
)

func (a *app) timelineCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "timeline [UPGRADE]",
		Short: "show an upgrade as it goes: stages, phases, steps, durations, outcome",
		Long: `Show the newest upgrade of a cluster, or an earlier one: stages, phases and steps with how
long each took. One that still runs is followed until it has gone as far as it was asked to,
or needs a person. On a terminal the picture is redrawn; elsewhere each change is a line.`,
		Example: `  reroot timeline
  reroot timeline to-4-19-3
  reroot timeline --cluster edge-1 --color never`,
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: arguments(a.upgradeNames),
	}
	cmd.RunE = a.run(func(ctx context.Context, args []string) error { return a.timeline(ctx, args) })
	return cmd
}

func (a *app) timeline(ctx context.Context, args []string) error {
	store, cluster, id, err := a.selected(ctx, args)
	if err != nil {
		return err
	}
	newest := id == ""
	if !newest {
		s, err := journal.Fold(ctx, store, cluster, 0)
		if err != nil {
			return err
		}
		newest = id == s.Upgrade
	}
	screen := a.screen(a.Out)
	if newest {
		_, err = timeline.Live(ctx, screen, store, store, cluster)
		return err
	}
	m, err := timeline.Of(store.Read(ctx, cluster, 1), cluster, id)
	if err != nil {
		return err
	}
	m.Color = screen.Color
	_, err = fmt.Fprintln(a.Out, strings.Join(m.Render(0, a.Now()), "\n"))
	return err
}
