package cli

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/spf13/cobra"

	"github.com/reroot-dev/reroot/events"
	"github.com/reroot-dev/reroot/events/journal"
	"github.com/reroot-dev/reroot/events/timeline"
)

// eventsOptions are the flags of events.
type eventsOptions struct {
	follow bool
	types  []string
	since  string
	output format
}

func (a *app) eventsCommand() *cobra.Command {
	o := &eventsOptions{}
	cmd := &cobra.Command{
		Use:   "events [UPGRADE]",
		Short: "show the events of a cluster's history, or of one upgrade",
		Long: `Show the events of a cluster's history in order, or those of one upgrade, and go on with
what is appended if asked to. Times in the table count from the request for the upgrade.`,
		Example: `  reroot events
  reroot events to-4-19-3 --type stage.requested --type stage.rejected -o wide
  reroot events -f --since 10m -o ndjson`,
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: arguments(a.upgradeNames),
	}
	f := cmd.Flags()
	f.BoolVarP(&o.follow, "follow", "f", false, "go on with what is appended")
	f.StringSliceVar(&o.types, "type", nil, "only events of this type, short or complete")
	f.StringVar(&o.since, "since", "", "only events recorded since then: a duration or an RFC 3339 time")
	a.formatFlag(cmd, &o.output, asJSON, asYAML, asNDJSON, asWide)
	a.complete(cmd, "type", func(context.Context) ([]string, error) { return shortTypes(), nil })
	cmd.RunE = a.run(func(ctx context.Context, args []string) error { return a.events(ctx, o, args) })
	return cmd
}

func shortTypes() (names []string) {
	for _, d := range events.Catalogue() {
		if d.Kind != events.Ephemeral {
			names = append(names, d.Type.Short())
		}
	}
	return names
}

// filter says which records to show.
type filter struct {
	upgrade string // "" means all
	types   []events.Type
	since   time.Time
}

func (f filter) match(e event.Event) bool {
	return (f.upgrade == "" || e.Subject() == f.upgrade) &&
		(len(f.types) == 0 || slices.Contains(f.types, events.TypeOf(e))) &&
		!events.Recorded(e).Before(f.since)
}

func (a *app) events(ctx context.Context, o *eventsOptions, args []string) error {
	if o.follow && o.output == asJSON {
		return wrong("follow the events", "use -o ndjson: one document a line", "a JSON document has an end")
	}
	store, cluster, id, err := a.selected(ctx, args)
	if err != nil {
		return err
	}
	f := filter{upgrade: id}
	if f.types, err = knownTypes(o.types); err != nil {
		return err
	}
	if f.since, err = a.instant(o.since); err != nil {
		return err
	}
	records := store.Read(ctx, cluster, 1)
	if o.follow {
		records = store.Watch(ctx, cluster, 1)
	}
	return a.show(records, f, o.output)
}

func knownTypes(names []string) (types []events.Type, err error) {
	for _, name := range names {
		t := events.Expand(name)
		if _, known := events.Lookup(t); !known {
			return nil, wrong("select events", "reroot explain event", "there is no type %q", name)
		}
		types = append(types, t)
	}
	return types, nil
}

// instant is a point in time that a person gives: so long ago, or an RFC 3339 time; the zero time for "".
func (a *app) instant(s string) (time.Time, error) {
	if s == "" {
		return time.Time{}, nil
	}
	if d, err := time.ParseDuration(s); err == nil {
		return a.Now().Add(-d), nil
	}
	t, err := time.Parse(time.RFC3339, s)
	if err != nil {
		return t, wrong("understand the time "+s, "write 10m or 2026-11-22T19:00:00Z", "it is neither a duration nor an RFC 3339 time")
	}
	return t, nil
}

// show writes the records that match as they come.
func (a *app) show(records func(func(journal.Record, error) bool), f filter, output format) error {
	list := []event.Event{} // a list that is empty is [], not null
	began := map[string]time.Time{}
	header := false
	for r, err := range records {
		if err != nil {
			return err
		}
		e := r.Event
		if _, known := began[e.Subject()]; !known {
			began[e.Subject()] = events.Recorded(e)
		}
		if !f.match(e) {
			continue
		}
		switch output {
		case asJSON:
			list = append(list, e)
		case asNDJSON:
			err = encode(a.Out, asNDJSON, e)
		case asYAML:
			if _, err = fmt.Fprintln(a.Out, "---"); err == nil {
				err = encode(a.Out, asYAML, e)
			}
		default:
			if !header {
				header = true
				_, err = fmt.Fprintln(a.Out, row(output, "NUMBER", "AT", "UPGRADE", "TYPE", "WRITER", "DETAIL", "RECORDED", "ID", "CAUSE"))
			}
			if err == nil {
				_, err = fmt.Fprintln(a.Out, line(output, e, began[e.Subject()]))
			}
		}
		if err != nil {
			return fmt.Errorf("cannot write the events: %w", err)
		}
	}
	if output == asJSON {
		return encode(a.Out, asJSON, list)
	}
	return nil
}

// line is an event in the table.
func line(output format, e event.Event, began time.Time) string {
	at := events.Recorded(e)
	return row(output, fmt.Sprint(events.Sequence(e)), "+"+timeline.Elapsed(at.Sub(began)), printable(e.Subject()), events.TypeOf(e).Short(), events.Writer(e.Source()),
		timeline.Describe(e), at.Format(time.RFC3339), printable(e.ID()), printable(events.Causation(e)))
}

// row has columns of fixed width, because a table that is followed cannot know what will come. The detail is last.
func row(output format, number, at, upgrade, typ, writer, detail, recorded, id, cause string) string {
	if output != asWide {
		return fmt.Sprintf("%-6s  %-7s  %-18s  %-26s  %-8s  %s", number, at, upgrade, typ, writer, detail)
	}
	if cause == "" {
		cause = "-"
	}
	return fmt.Sprintf("%-6s  %-7s  %-18s  %-26s  %-8s  %-20s  %-26s  %-26s  %s", number, at, upgrade, typ, writer, recorded, id, cause, detail)
}
