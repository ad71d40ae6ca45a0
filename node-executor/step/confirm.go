package step

import (
	"context"

	"github.com/reroot-dev/reroot/events"
)

// confirm keeps the new root: the watchdog sees it and ends. Whichever of the two is first wins.
func confirm(n Node) Plan {
	return Plan{
		Otherwise: events.ReasonConfirmFailed,
		Steps: []Step{
			{Name: "confirm", Do: func(context.Context, *Task) error { return n.Watchdog.Confirm() }},
		},
		Report: func(_ *Task, o events.Outcome) (any, error) { return events.ConfirmCompleted{Outcome: o}, nil },
	}
}
