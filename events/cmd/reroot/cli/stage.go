package cli

import (
	"bufio"
	"context"
	"crypto/rand"
	"fmt"
	"strings"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/spf13/cobra"

	"github.com/reroot-dev/reroot/events"
	"github.com/reroot-dev/reroot/events/timeline"
)

// stages may be asked for.
var stages = []string{"Idle", "Prep", "Upgrade", "Rollback"}

func (a *app) stageCommand() *cobra.Command {
	var yes bool
	cmd := &cobra.Command{
		Use:   "stage UPGRADE Idle|Prep|Upgrade|Rollback",
		Short: "ask for the next stage of an upgrade and wait for the decision",
		Long: `Ask for the next stage of an upgrade, and wait until it begins or is refused.

Upgrade goes on after Prep. Rollback boots the old root again. Idle ends an upgrade: before
the pivot it aborts, after it it gives up the way back. Rollback and Idle ask before they do.`,
		Example: `  reroot stage to-4-19-3 Upgrade
  reroot stage to-4-19-3 Rollback --yes
  reroot stage to-4-19-3 Idle --yes`,
		Args:              cobra.ExactArgs(2),
		ValidArgsFunction: arguments(a.upgradeNames, a.nextStages),
	}
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	cmd.RunE = a.run(func(ctx context.Context, args []string) error {
		var stage events.Stage
		if err := (&choice[events.Stage]{&stage, stages}).Set(args[1]); err != nil {
			return wrong("ask for stage "+args[1], "name one of them", "a stage %v", err)
		}
		return a.stage(ctx, args[0], stage, yes)
	})
	return cmd
}

func (a *app) stage(ctx context.Context, given string, stage events.Stage, yes bool) error {
	store, cluster, id, err := a.upgrade(ctx, given)
	if err != nil {
		return err
	}
	cannot := fmt.Sprintf("bring %s to stage %s", id, stage)
	if !yes && (stage == events.StageIdle || stage == events.StageRollback) {
		if err := a.consent(ctx, cannot, fmt.Sprintf("%s of %s on %s", stage, id, cluster)); err != nil {
			return err
		}
	}
	e := events.New(events.TypeStageRequested, strings.ToLower(rand.Text()), cluster, a.writer(), id, events.StageRequested{Stage: stage})
	e.SetTime(a.Now().UTC())
	r, err := a.ask(ctx, store, cannot, e, func(x event.Event) bool { return events.Causation(x) == e.ID() })
	if err != nil {
		return err
	}
	if events.TypeOf(r.Event) == events.TypeStageRejected {
		return rejected(cannot, r.Event)
	}
	_, err = fmt.Fprintf(a.Out, "upgrade %s: %s is number %d in the history of %s\n", id, events.TypeOf(r.Event).Short(), events.Sequence(r.Event), cluster)
	return err
}

// rejected is the answer to a request for a stage that cannot follow.
func rejected(cannot string, e event.Event) error {
	p, err := events.Decode[events.StageRejected](e)
	if err != nil {
		return err
	}
	do := "wait: no stage can be asked for at the moment (reroot timeline)"
	if len(p.ValidNextStages) > 0 {
		do = "ask for one that can follow: " + timeline.Stages(p.ValidNextStages)
	}
	return &Failure{Code: Refused, Cannot: cannot, Because: fmt.Sprintf("%s: %s", p.Reason, p.Message), Do: do}
}

// consent asks a person; without one it refuses.
func (a *app) consent(ctx context.Context, cannot, what string) error {
	const do = "add --yes if you mean it"
	if !a.Asks {
		return wrong(cannot, do, "this cannot be undone, and there is nobody to ask")
	}
	fmt.Fprintf(a.Err, "%s cannot be undone. Go on? [y/N] ", what)
	said := make(chan string, 1)
	go func() { // it reads a terminal, which cannot be interrupted: it ends with the line or with the process
		line, _ := bufio.NewReader(a.In).ReadString('\n')
		said <- strings.ToLower(strings.TrimSpace(line))
	}()
	select {
	case answer := <-said:
		if answer == "y" || answer == "yes" {
			return nil
		}
		return wrong(cannot, do, "you did not say yes")
	case <-ctx.Done():
		return ctx.Err()
	}
}

// nextStages are those that may follow in the newest upgrade of the chosen cluster.
func (a *app) nextStages(ctx context.Context) ([]string, error) {
	s, err := a.state(ctx)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, next := range s.Phase.ValidNextStages() {
		names = append(names, string(next))
	}
	return names, nil
}
