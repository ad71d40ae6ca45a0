package cli

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/reroot-dev/reroot/events"
	"github.com/reroot-dev/reroot/events/journal"
	"github.com/reroot-dev/reroot/events/timeline"
	"github.com/reroot-dev/reroot/events/upgrade"
)

func (a *app) getCommand() *cobra.Command {
	var output format
	cmd := &cobra.Command{
		Use:   "get [CLUSTER]",
		Short: "list clusters with their newest upgrade and where it stands",
		Long: `List clusters with their newest upgrade and where it stands. -o name prints CLUSTER/UPGRADE, one
a line, for whatever takes an UPGRADE: reroot get -o name | xargs -n1 reroot timeline`,
		Example: `  reroot get
  reroot get -o wide
  reroot get edge-1 -o yaml`,
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: arguments(a.clusters),
	}
	a.formatFlag(cmd, &output, asJSON, asYAML, asWide, asName)
	cmd.RunE = a.run(func(ctx context.Context, args []string) error {
		if len(args) == 1 {
			a.cluster = args[0]
		}
		return a.get(ctx, output, len(args) == 1)
	})
	return cmd
}

// get lists the chosen clusters. One that is named is shown by itself, not as a list.
func (a *app) get(ctx context.Context, output format, single bool) error {
	store, err := a.open(ctx)
	if err != nil {
		return err
	}
	names := []string{a.cluster}
	if a.cluster != "" {
		_, _, err = a.history(ctx) // says so when there is none
	} else {
		names, err = store.Clusters(ctx)
	}
	if err != nil {
		return err
	}
	states := make([]upgrade.State, 0, len(names))
	var damaged error
	for _, name := range names {
		s, err := journal.Fold(ctx, store, name, 0)
		if err != nil {
			damaged = errors.Join(damaged, err) // the other clusters are shown all the same
			continue
		}
		states = append(states, s)
	}
	if err := a.list(states, output, single); err != nil {
		return err
	}
	return damaged
}

func (a *app) list(states []upgrade.State, output format, single bool) error {
	switch {
	case output == asName:
		for _, s := range states {
			if s.Upgrade != "" { // a history that was restarted has none yet
				fmt.Fprintln(a.Out, s.Cluster+"/"+s.Upgrade)
			}
		}
		return nil
	case output != asJSON && output != asYAML:
		return table(a.Out, a.rows(states, output == asWide))
	case single && len(states) == 1:
		return encode(a.Out, output, states[0])
	}
	return encode(a.Out, output, struct {
		Items []upgrade.State `json:"items"`
	}{states})
}

// rows is the table of the states, with its header.
func (a *app) rows(states []upgrade.State, wide bool) [][]string {
	header := []string{"CLUSTER", "UPGRADE", "STAGE", "PHASE", "SINCE", "REASON"}
	if wide {
		header = append(header, "FROM", "TO", "THROUGH", "BOOTED", "EVENTS")
	}
	rows := [][]string{header}
	for _, s := range states {
		row := []string{s.Cluster, s.Upgrade, string(s.Phase.Stage()), string(s.Phase), timeline.Elapsed(a.Now().Sub(s.PhaseSince)), reason(s)}
		if wide {
			row = append(row, s.Origin.Version, s.Spec.SeedImageRef.Version, string(s.Through), stateroot(s.Booted), strconv.FormatUint(s.Sequence, 10))
		}
		rows = append(rows, row)
	}
	return rows
}

func reason(s upgrade.State) string {
	switch {
	case s.Overdue:
		return "Overdue"
	case s.Failure != nil:
		return string(s.Failure.Reason)
	}
	return ""
}

func stateroot(d *events.Deployment) string {
	if d == nil {
		return ""
	}
	return d.Stateroot
}

// state is the newest state of the chosen cluster.
func (a *app) state(ctx context.Context) (upgrade.State, error) {
	store, cluster, err := a.history(ctx)
	if err != nil {
		return upgrade.State{}, err
	}
	return journal.Fold(ctx, store, cluster, 0)
}
