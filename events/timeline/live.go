package timeline

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/mattn/go-isatty"
	"golang.org/x/sys/unix"

	"github.com/cloudevents/sdk-go/v2/event"

	"github.com/reroot-dev/reroot/events"
	"github.com/reroot-dev/reroot/events/journal"
	"github.com/reroot-dev/reroot/events/upgrade"
)

// Screen is where a timeline is shown.
type Screen struct {
	Out    io.Writer
	Redraw bool // one block, rewritten in place; otherwise one line per change
	Color  bool
	Width  func() int // of Out in characters, asked before each drawing; nil does not cut lines
}

// ScreenOf is the screen that suits w: redrawn where w is a terminal, and coloured there unless NO_COLOR is set
// (https://no-color.org).
func ScreenOf(w io.Writer) Screen {
	f, isFile := w.(*os.File)
	if !isFile || !isatty.IsTerminal(f.Fd()) {
		return Screen{Out: w}
	}
	width := func() int {
		size, err := unix.IoctlGetWinsize(int(f.Fd()), unix.TIOCGWINSZ)
		if err != nil || size.Col == 0 {
			return 80
		}
		return int(size.Col)
	}
	return Screen{Out: w, Redraw: true, Color: os.Getenv("NO_COLOR") == "", Width: width}
}

const (
	// frame is how often a block is drawn anew, for the durations that it shows.
	frame = 200 * time.Millisecond
	// pause is how long a journal that went out of reach is left alone: the pivot takes a node's own journal along.
	pause = time.Second
)

// Live shows the newest upgrade of a cluster until it has settled (see [Model.Settled]) and returns its state then. A
// journal without an upgrade is waited for; one that goes out of reach meanwhile, too. The error is ctx's, the
// screen's, or that of a history that cannot be read or folded; the state is the last one known.
func Live(ctx context.Context, s Screen, log journal.Log, progress journal.Progress, cluster string) (upgrade.State, error) {
	v := &view{screen: s, model: New(cluster)}
	v.model.Color = s.Color
	if err := v.catchUp(log.Read(ctx, cluster, 1)); err != nil {
		return v.model.State(), fmt.Errorf("cannot read the history of %s: %w", cluster, err)
	}
	var err error
	if !v.model.Settled() {
		err = v.follow(ctx, log, progress, cluster)
	}
	if err == nil {
		err = v.finish()
	}
	return v.model.State(), err
}

// view draws a model.
type view struct {
	screen Screen
	model  *Model
	rows   int    // of the block that stands on the screen
	last   string // line that was written last
}

// catchUp reads the past and shows of it what belongs to the newest upgrade.
func (v *view) catchUp(records history) error {
	var lines []string
	for r, err := range records {
		if err != nil {
			return err
		}
		if err := v.model.Event(r); err != nil {
			return err
		}
		if events.TypeOf(r.Event) == events.TypeUpgradeRequested {
			lines = lines[:0]
		}
		lines = append(lines, v.model.Line())
	}
	if v.screen.Redraw || len(lines) == 0 {
		return nil
	}
	v.last = lines[len(lines)-1]
	return v.write(strings.Join(lines, "\n") + "\n")
}

// change is a record, a report, or why there are no more records.
type change struct {
	record *journal.Record
	report *event.Event
	err    error
}

// follow shows what happens until the upgrade has settled. No goroutine is left when it returns.
func (v *view) follow(ctx context.Context, log journal.Log, progress journal.Progress, cluster string) error {
	ctx, cancel := context.WithCancel(ctx)
	changes := make(chan change)
	var sources sync.WaitGroup
	defer sources.Wait()
	defer cancel()
	from := v.model.State().Sequence + 1
	sources.Go(func() { watch(ctx, changes, log, cluster, from) })
	sources.Go(func() { hear(ctx, changes, progress, cluster) })
	var frames <-chan time.Time
	if v.screen.Redraw {
		ticker := time.NewTicker(frame)
		defer ticker.Stop()
		frames = ticker.C
	}
	for {
		var err error
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-frames:
			err = v.draw()
		case c := <-changes:
			err = v.take(c)
		}
		if err != nil || v.model.Settled() {
			return err
		}
	}
}

// take shows a change.
func (v *view) take(c change) error {
	switch damaged := (*events.ChainError)(nil); {
	case errors.As(c.err, &damaged):
		return c.err
	case c.err != nil:
		v.model.Note("the journal is out of reach; trying again")
	case c.report != nil:
		v.model.Progress(*c.report)
	default:
		if err := v.model.Event(*c.record); err != nil {
			return err
		}
	}
	switch {
	case v.model.Settled() && v.screen.Redraw:
		return nil // the last picture is for finish: it may be higher than the screen, and could not be drawn over
	case v.screen.Redraw:
		return v.draw()
	}
	if line := v.model.Line(); line != v.last {
		v.last = line
		return v.write(line + "\n")
	}
	return nil
}

// watch sends the records of a history from an ordinal on until ctx ends. When reading fails it begins again.
func watch(ctx context.Context, to chan<- change, log journal.Log, cluster string, from uint64) {
	for ctx.Err() == nil {
		for r, err := range log.Watch(ctx, cluster, from) {
			c := change{record: &r}
			if err != nil {
				c = change{err: err}
			} else {
				from = r.Head().Sequence + 1
			}
			if !send(ctx, to, c) {
				return
			}
		}
		rest(ctx)
	}
}

// hear sends the reports of steps until ctx ends. Reports that cannot be read are not missed.
func hear(ctx context.Context, to chan<- change, progress journal.Progress, cluster string) {
	for ctx.Err() == nil {
		for e, err := range progress.Reports(ctx, cluster) {
			if err == nil && !send(ctx, to, change{report: &e}) {
				return
			}
		}
		rest(ctx)
	}
}

func send(ctx context.Context, to chan<- change, c change) bool {
	select {
	case to <- c:
		return true
	case <-ctx.Done():
		return false
	}
}

func rest(ctx context.Context) {
	select {
	case <-time.After(pause):
	case <-ctx.Done():
	}
}

// finish shows how the upgrade ended.
func (v *view) finish() error {
	if v.screen.Redraw {
		return v.draw()
	}
	return v.write(strings.Join(v.model.Render(0, time.Now()), "\n") + "\n")
}

// draw writes the block over the one that stands there.
func (v *view) draw() error {
	width := 0
	if v.screen.Width != nil {
		width = v.screen.Width()
	}
	var b strings.Builder
	if v.rows > 0 {
		fmt.Fprintf(&b, "\x1b[%dA", v.rows)
	}
	lines := v.model.Render(width, time.Now())
	for _, line := range lines {
		b.WriteString("\x1b[2K" + line + "\n")
	}
	b.WriteString("\x1b[J")
	v.rows = len(lines)
	return v.write(b.String())
}

func (v *view) write(s string) error {
	if _, err := io.WriteString(v.screen.Out, s); err != nil {
		return fmt.Errorf("cannot draw the timeline: %w", err)
	}
	return nil
}
