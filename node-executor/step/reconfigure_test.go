package step_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/reroot-dev/reroot/events"
	"github.com/reroot-dev/reroot/node-executor/step"
)

// restarting is a control plane that is away each time before it answers.
type restarting struct {
	step.API
	step.Site
	away  int
	fails error // what it answers in the end, nil for the cluster's id
	tries int
}

func (*restarting) Await(context.Context, func(float64, string)) error { return nil }

func (r *restarting) Online(context.Context) (string, error) {
	if r.tries++; r.tries <= r.away {
		return "", fmt.Errorf("connection refused: %w", step.ErrAway)
	}
	return "the-id", r.fails
}

// TestApplyIdentityOutlastsRestarts: a server that goes away while objects are put on it is no reason to go back.
func TestApplyIdentityOutlastsRestarts(t *testing.T) {
	another := errors.New("this is another cluster")
	for name, tc := range map[string]struct {
		away  int
		fails error
		tries int
	}{
		"it answers":                 {0, nil, 1},
		"it is away three times":     {3, nil, 4},
		"it refuses":                 {0, another, 1},
		"it refuses when it is back": {2, another, 3},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := &restarting{away: tc.away, fails: tc.fails}
				steps := step.All(step.Node{API: r, Site: r})[events.TypeReconfigureRequested].Steps
				task := step.NewTask(step.Task{}, nil)
				if err := steps[len(steps)-1].Do(t.Context(), task); !errors.Is(err, tc.fails) {
					t.Errorf("apply-identity: %v, want %v", err, tc.fails)
				}
				if r.tries != tc.tries {
					t.Errorf("it was tried %d times, want %d", r.tries, tc.tries)
				}
			})
		})
	}
	t.Run("it does not come back", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			r := &restarting{away: 1 << 20}
			steps := step.All(step.Node{API: r, Site: r})[events.TypeReconfigureRequested].Steps
			if err := steps[len(steps)-1].Do(ctx, step.NewTask(step.Task{}, nil)); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("apply-identity: %v, want %v", err, context.DeadlineExceeded)
			}
		})
	})
}
