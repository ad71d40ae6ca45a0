package cluster

import (
	"errors"
	"log/slog"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// trouble is what keeps a kind from being watched. An API that is away is asked every second, and permissions that lack
// will not come by themselves: each trouble is told once, and again when it is another one or over.
type trouble struct {
	log  *slog.Logger
	last string // "" when there is none
}

func (t *trouble) met(err error) {
	what := Cause(err)
	// Where nobody answers, the text differs from one connection to the next.
	if status := apierrors.APIStatus(nil); Unavailable(err) && !errors.As(err, &status) {
		what = "nobody answers"
	}
	if what == t.last {
		return
	}
	t.last = what
	t.log.Warn("cannot watch the cluster", "error", Cause(err))
}

func (t *trouble) over() {
	if t.last == "" {
		return
	}
	t.last = ""
	t.log.Info("watching the cluster again")
}
