package cli

import (
	"context"
	"io"

	"github.com/spf13/cobra"
)

func (a *app) completionCommand() *cobra.Command {
	shells := map[string]func(root *cobra.Command, w io.Writer) error{
		"bash":       func(root *cobra.Command, w io.Writer) error { return root.GenBashCompletionV2(w, true) },
		"zsh":        func(root *cobra.Command, w io.Writer) error { return root.GenZshCompletion(w) },
		"fish":       func(root *cobra.Command, w io.Writer) error { return root.GenFishCompletion(w, true) },
		"powershell": func(root *cobra.Command, w io.Writer) error { return root.GenPowerShellCompletionWithDesc(w) },
	}
	cmd := &cobra.Command{
		Use:   "completion bash|zsh|fish|powershell",
		Short: "write a completion script for a shell",
		Long: `Write a script that completes commands, flags, and the names of clusters, upgrades and stages.

For bash: source <(reroot completion bash)`,
		Example: `  reroot completion bash
  reroot completion zsh
  reroot completion fish`,
		Args:      cobra.MatchAll(cobra.ExactArgs(1), cobra.OnlyValidArgs),
		ValidArgs: []string{"bash", "zsh", "fish", "powershell"},
	}
	cmd.RunE = a.run(func(_ context.Context, args []string) error { return shells[args[0]](cmd.Root(), a.Out) })
	return cmd
}

// names lists what may stand for a word. It may ask the event store.
type names func(ctx context.Context) ([]string, error)

func constant(words ...string) names {
	return func(context.Context) ([]string, error) { return words, nil }
}

// complete offers words for the value of a flag.
func (a *app) complete(cmd *cobra.Command, flag string, list names) {
	// It fails only if there is no such flag, which the first run of any command would show.
	if err := cmd.RegisterFlagCompletionFunc(flag, offer(list)); err != nil {
		panic(err)
	}
}

// arguments offers words for the arguments of a command, one list for each.
func arguments(lists ...names) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, start string) ([]string, cobra.ShellCompDirective) {
		if len(args) >= len(lists) {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return offer(lists[len(args)])(cmd, args, start)
	}
}

func offer(list names) cobra.CompletionFunc {
	return func(cmd *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
		words, err := list(cmd.Context())
		if err != nil {
			return nil, cobra.ShellCompDirectiveError
		}
		return words, cobra.ShellCompDirectiveNoFileComp
	}
}

// upgradeNames are the ids of the chosen cluster's upgrades.
func (a *app) upgradeNames(ctx context.Context) ([]string, error) {
	store, cluster, err := a.history(ctx)
	if err != nil {
		return nil, err
	}
	return upgrades(ctx, store, cluster)
}
