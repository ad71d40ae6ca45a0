package cli

import (
	"context"
	"fmt"
	"io"
	"os"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/reroot-dev/reroot/events"
	"github.com/reroot-dev/reroot/events/journal"
	"github.com/reroot-dev/reroot/events/upgrade"
)

// maxExport bounds an exported history that is read, in bytes.
const maxExport = 1 << 30

func (a *app) replayCommand() *cobra.Command {
	var file, until string
	output := asYAML
	cmd := &cobra.Command{
		Use:   "replay",
		Short: "show the state that was known at some point of a history",
		Long: `Fold a history from its beginning up to an event or a point in time, and show the state that was
known then. Every link of the hash chain is checked. The history comes from the event store,
or from a file that export wrote: then nothing else is needed.`,
		Example: `  reroot replay --until 7
  reroot replay --until 2026-11-22T12:30:00Z -o json
  reroot replay --file history.ndjson`,
		Args: cobra.NoArgs,
	}
	cmd.Flags().StringVar(&file, "file", "", "history that export wrote; - is the standard input")
	cmd.Flags().StringVar(&until, "until", "", "number of an event, or RFC 3339 time; default: the end")
	a.formatFlag(cmd, &output, asJSON, asYAML)
	cmd.RunE = a.run(func(ctx context.Context, _ []string) error {
		s, err := a.replay(ctx, file, until)
		if err != nil {
			return err
		}
		return encode(a.Out, output, s)
	})
	return cmd
}

func (a *app) replay(ctx context.Context, file, until string) (upgrade.State, error) {
	number, moment, err := parseUntil(until)
	if err != nil {
		return upgrade.State{}, err
	}
	log, cluster, err := a.source(ctx, file)
	if err != nil {
		return upgrade.State{}, err
	}
	s := upgrade.New(cluster)
	for r, err := range log.Read(ctx, cluster, 1) {
		if err != nil {
			return s, fmt.Errorf("cannot replay the history of %s: %w", cluster, err)
		}
		if !moment.IsZero() && events.Recorded(r.Event).After(moment) {
			break
		}
		next, err := s.Apply(r.Event, r.Hash)
		if err != nil {
			return s, fmt.Errorf("cannot replay event %d of %s: %w", s.Sequence+1, cluster, err)
		}
		if s = next; s.Sequence == number {
			break // before what comes after it is read: it may be damaged
		}
	}
	if s.Sequence < number {
		return s, wrong("replay until event "+until, "give a smaller number", "the history of %s ends with event %d", cluster, s.Sequence)
	}
	return s, nil
}

// parseUntil reads an event's number or a time; both are zero for "".
func parseUntil(s string) (number uint64, moment time.Time, err error) {
	if s == "" {
		return 0, moment, nil
	}
	if number, err = strconv.ParseUint(s, 10, 64); err == nil && number > 0 {
		return number, moment, nil
	}
	if moment, err = time.Parse(time.RFC3339, s); err != nil {
		return 0, moment, wrong("replay until "+s, "write 7 or 2026-11-22T19:00:00Z", "it is neither the number of an event, which counts from 1, nor an RFC 3339 time")
	}
	return 0, moment, nil
}

// source is where the history comes from: the event store, or a file.
func (a *app) source(ctx context.Context, file string) (journal.Log, string, error) {
	if file == "" {
		store, cluster, err := a.history(ctx)
		return store, cluster, err
	}
	in := a.In
	if file != "-" {
		f, err := os.Open(file)
		if err != nil {
			return nil, "", wrong("read "+file, "name a file that exists and may be read", "%v", err)
		}
		defer f.Close()
		in = f
	}
	log, err := journal.Import(io.LimitReader(in, maxExport))
	if err != nil {
		return nil, "", err
	}
	names, err := log.Clusters(ctx)
	switch {
	case err != nil:
		return nil, "", err
	case a.cluster == "" && len(names) == 1:
		return log, names[0], nil
	}
	for _, name := range names {
		if name == a.cluster {
			return log, name, nil
		}
	}
	return nil, "", wrong("choose a history in "+file, "name one with --cluster", "it holds those of %v", names)
}
