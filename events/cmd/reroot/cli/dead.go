package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/reroot-dev/reroot/events/journal"
	"github.com/reroot-dev/reroot/events/timeline"
)

func (a *app) deadCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "dead",
		Short: "list parked events and give them another chance",
		Long: `Parked are events that were refused, and events on which a function failed for good. They are kept
with the reason until they are submitted again.`,
		Example: `  reroot dead list
  reroot dead list -o json
  reroot dead redrive 3f2a`,
	}
	cmd.AddCommand(a.deadListCommand(), a.redriveCommand())
	return cmd
}

func (a *app) deadListCommand() *cobra.Command {
	var output format
	cmd := &cobra.Command{
		Use:   "list",
		Short: "list parked events, oldest first",
		Example: `  reroot dead list
  reroot dead list --cluster edge-1
  reroot dead list -o yaml`,
		Args: cobra.NoArgs,
	}
	a.formatFlag(cmd, &output, asJSON, asYAML, asName)
	cmd.RunE = a.run(func(ctx context.Context, _ []string) error {
		all, err := a.parked(ctx)
		if err != nil {
			return err
		}
		return a.listParked(all, output)
	})
	return cmd
}

func (a *app) redriveCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "redrive ID",
		Short: "submit a parked event again",
		Long: `Submit a parked event again, once its cause is mended. It takes the way that it came and may be parked
once more.`,
		Example: `  reroot dead redrive 3f2a
  reroot dead redrive 3f2a6c01
  reroot dead redrive 3f2a --cluster edge-1`,
		Args: cobra.ExactArgs(1),
		ValidArgsFunction: arguments(func(ctx context.Context) ([]string, error) {
			all, err := a.parked(ctx)
			return parkedIDs(all), err
		}),
	}
	cmd.RunE = a.run(func(ctx context.Context, args []string) error {
		all, err := a.parked(ctx)
		if err != nil {
			return err
		}
		id, err := unambiguous("parked event", args[0], parkedIDs(all), "reroot dead list")
		if err != nil {
			return err
		}
		if err := a.store.Redrive(ctx, id); err != nil {
			return err
		}
		_, err = fmt.Fprintf(a.Out, "parked event %s is submitted again\n", id)
		return err
	})
	return cmd
}

// parked are the parked events of the named cluster, or all.
func (a *app) parked(ctx context.Context) ([]journal.Parked, error) {
	store, err := a.open(ctx)
	if err != nil {
		return nil, err
	}
	return store.Parked(ctx, a.cluster)
}

func parkedIDs(all []journal.Parked) []string {
	ids := make([]string, len(all))
	for i, p := range all {
		ids[i] = p.ID
	}
	return ids
}

func (a *app) listParked(all []journal.Parked, output format) error {
	switch output {
	case asJSON, asYAML:
		return encode(a.Out, output, struct {
			Items []journal.Parked `json:"items"`
		}{append([]journal.Parked{}, all...)})
	case asName:
		for _, id := range parkedIDs(all) {
			fmt.Fprintln(a.Out, id)
		}
		return nil
	}
	rows := [][]string{{"ID", "AGE", "CLUSTER", "ORIGIN", "EVENT", "REASON", "DETAIL"}}
	for _, p := range all {
		what := ""
		if p.Event != nil {
			what = p.Event.ID()
		}
		rows = append(rows, []string{p.ID, timeline.Elapsed(a.Now().Sub(p.At)), p.Cluster, p.Origin, what, string(p.Reason), p.Detail})
	}
	return table(a.Out, rows)
}
