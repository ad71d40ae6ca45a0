package cli

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/reroot-dev/reroot/events/journal"
)

func (a *app) exportCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "export [CLUSTER]",
		Short: "write a cluster's history: one event a line, as it stands in the journal",
		Long: `Write the whole history of a cluster as NDJSON, one CloudEvent a line, with the hash chain. It can be
replayed, and its chain checked, on any machine: reroot replay --file.`,
		Example: `  reroot export
  reroot export edge-1
  reroot export --cluster edge-1`,
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: arguments(a.clusters),
	}
	cmd.RunE = a.run(func(ctx context.Context, args []string) error {
		if len(args) == 1 {
			a.cluster = args[0]
		}
		store, cluster, err := a.history(ctx)
		if err != nil {
			return err
		}
		return journal.Export(ctx, store, cluster, a.Out)
	})
	return cmd
}
