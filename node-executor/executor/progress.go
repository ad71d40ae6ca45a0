package executor

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/reroot-dev/reroot/events"
	"github.com/reroot-dev/reroot/node-executor/executor/ledger"
)

const (
	// quiet is the least time between two reports of one step that is running.
	quiet = 500 * time.Millisecond
	// reportLimit bounds the sending of one report.
	reportLimit = 5 * time.Second
	// maxDetail is the longest detail that the schema of reports allows, in bytes.
	maxDetail = 1024
)

// reporter sends the latest report of each step, one after the other, and forgets what it cannot send.
type reporter struct {
	mu     sync.Mutex
	latest []report
	last   map[string]time.Time
	count  uint64
	wake   signal
}

type report struct {
	job  ledger.Job
	data events.StepProgressed
	n    uint64
}

func newReporter() reporter {
	return reporter{last: map[string]time.Time{}, wake: newSignal()}
}

// tell reports how a step stands. It never blocks.
func (x *Executor) tell(job ledger.Job, stepName string, state events.StepState, fraction float64, detail string) {
	if stepName == "" {
		return
	}
	detail = detail[:min(len(detail), maxDetail)]
	x.progress.put(report{job: job, data: events.StepProgressed{
		Of: job.Type.Short(), Step: stepName, State: state, Fraction: min(max(fraction, 0), 1), Detail: detail,
	}}, x.Now())
}

func (r *reporter) put(p report, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	key := p.job.ID + "/" + p.data.Step
	running := p.data.State == events.StepRunning && p.data.Fraction < 1 && p.data.Detail != ""
	if running && now.Sub(r.last[key]) < quiet {
		return
	}
	r.last[key] = now
	r.count++
	p.n = r.count
	for i, q := range r.latest {
		if q.job.ID == p.job.ID && q.data.Step == p.data.Step {
			r.latest[i] = p
			return
		}
	}
	r.latest = append(r.latest, p)
	r.wake.raise()
}

func (r *reporter) take() []report {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := r.latest
	r.latest = nil
	return all
}

func (r *reporter) run(ctx context.Context, out Progress) error {
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-r.wake:
		}
		for _, p := range r.take() {
			id := fmt.Sprintf("%s-%s-%d-%d", p.job.ID, p.data.Step, p.job.Attempt, p.n)
			e := events.New(events.TypeStepProgressed, id, events.Cluster(p.job.Cause), writer, p.job.Upgrade(), p.data)
			sending, cancel := context.WithTimeout(ctx, reportLimit)
			_ = out.Report(sending, e) // a lost report is harmless, and the next one replaces it
			cancel()
		}
	}
}
