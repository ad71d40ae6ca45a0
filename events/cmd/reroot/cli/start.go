package cli

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/spf13/cobra"

	"github.com/reroot-dev/reroot/events"
)

// startOptions are the flags of start.
type startOptions struct {
	file       string
	seed       string
	version    string
	pullSecret string
	oadp       []string
	manifests  []string
	budget     time.Duration
	through    events.Stage
	dryRun     string
	wait       bool
	timeout    time.Duration
	output     format
}

func (a *app) startCommand() *cobra.Command {
	o := &startOptions{}
	cmd := &cobra.Command{
		Use:   "start UPGRADE --seed IMAGE --version V | start [UPGRADE] -f FILE",
		Short: "ask for an upgrade and wait for the answer",
		Long: `Ask for an upgrade of a cluster, under an id of your choice, and wait until it is admitted or refused.

What to install is named by flags, or by a file: an ImageBasedUpgrade, the payload of an
upgrade.requested event, or such an event as a whole, in YAML or JSON. Everything that can
be checked without the cluster is checked before anything is sent. Asking twice for the same
is the same as asking once.`,
		Example: `  reroot start to-4-19-3 --cluster edge-1 --seed registry.example.com/seed:4.19.3 --version 4.19.3
  reroot start to-4-19-3 --cluster edge-1 -f upgrade.yaml --through Prep
  reroot start --cluster edge-1 -f event.json --dry-run client`,
		Args: cobra.MaximumNArgs(1),
	}
	f := cmd.Flags()
	f.StringVarP(&o.file, "file", "f", "", "file that says what to install; - is the standard input")
	f.StringVar(&o.seed, "seed", "", "pull spec of the seed image")
	f.StringVar(&o.version, "version", "", "version of OKD in the seed image")
	f.StringVar(&o.pullSecret, "pull-secret", "", "name of the Secret to pull the seed image with")
	f.StringSliceVar(&o.oadp, "oadp", nil, "ConfigMap with Velero Backups and Restores, as namespace/name")
	f.StringSliceVar(&o.manifests, "extra-manifests", nil, "ConfigMap with manifests for the new root, as namespace/name")
	f.DurationVar(&o.budget, "init-monitor-timeout", 0, "how long the new root may take until it is confirmed; 0 is half an hour")
	f.Var(&choice[events.Stage]{&o.through, []string{"Prep", "Upgrade", "Finalize"}}, "through", "how far to go: Prep, Upgrade or Finalize (default Upgrade, or what the file says)")
	f.Var(&choice[string]{&o.dryRun, []string{"client"}}, "dry-run", "client: only check, and print the event that would be sent")
	f.BoolVar(&o.wait, "wait", false, "show the upgrade until it has gone as far as it was asked to, and exit like wait")
	f.DurationVar(&o.timeout, "timeout", 4*time.Hour, "how long to --wait")
	a.formatFlag(cmd, &o.output, asJSON, asYAML)
	a.complete(cmd, "through", constant("Prep", "Upgrade", "Finalize"))
	a.complete(cmd, "dry-run", constant("client"))
	cmd.MarkFlagsOneRequired("file", "seed")
	for _, flag := range []string{"seed", "version", "pull-secret", "oadp", "extra-manifests", "init-monitor-timeout"} {
		cmd.MarkFlagsMutuallyExclusive("file", flag)
	}
	cmd.MarkFlagsRequiredTogether("seed", "version")
	cmd.RunE = a.run(func(ctx context.Context, args []string) error { return a.start(ctx, o, strings.Join(args, "")) })
	return cmd
}

// requested is how start answers.
type requested struct {
	Cluster  string `json:"cluster"`
	Upgrade  string `json:"upgrade"`
	ID       string `json:"id"`       // of the event
	Sequence uint64 `json:"sequence"` // its number in the history
}

func (a *app) start(ctx context.Context, o *startOptions, id string) error {
	e, err := a.request(ctx, o, id)
	if err != nil {
		return err
	}
	if problem := events.Validate(e); problem != nil {
		return invalid("start "+e.Subject(), problem)
	}
	if o.dryRun != "" {
		if o.output == asText {
			o.output = asJSON
		}
		return encode(a.Out, o.output, e)
	}
	store, err := a.open(ctx)
	if err != nil {
		return err
	}
	r, err := a.ask(ctx, store, "start "+e.Subject(), e, func(x event.Event) bool { return x.ID() == e.ID() && x.Source() == e.Source() })
	if err != nil {
		return err
	}
	answer := requested{events.Cluster(e), e.Subject(), e.ID(), events.Sequence(r.Event)}
	if o.output != asText {
		err = encode(a.Out, o.output, answer)
	} else {
		_, err = fmt.Fprintf(a.Out, "upgrade %s is admitted: event %s is number %d in the history of %s\n", answer.Upgrade, answer.ID, answer.Sequence, answer.Cluster)
	}
	if err != nil || !o.wait {
		return err
	}
	return a.followed(ctx, store, e, o.timeout)
}

// invalid says what is wrong with an event that was not sent: everything at once.
func invalid(cannot string, p *events.Problem) error {
	return wrong(cannot, "mend what is named; nothing was sent", "%s: %s", p.Reason, strings.Join(p.List(), "; "))
}
