// Package validate is the function that decides whether an upgrade may begin. It looks at everything that would make
// the upgrade fail later, on the cluster and in the seed's registry, and states each check with what was seen and what
// was wanted, the ones that hold as well. It changes nothing anywhere: no Backup is deleted, no namespace is made.
//
// Every check runs, however many fail; the first that fails, in the order of the list, gives the reason. Some states
// come right by themselves (an operator that is progressing, a registry that restarts): a check says for how long they
// may be waited for, and while all that fails may still come right the function waits.
package validate

import (
	"context"
	"math"
	"strings"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/reroot-dev/reroot/events"
	"github.com/reroot-dev/reroot/events/seed/registry"
	"github.com/reroot-dev/reroot/events/upgrade"
	"github.com/reroot-dev/reroot/functions"
	"github.com/reroot-dev/reroot/functions/cluster"
)

// Name of the function.
const Name = "validate"

// poll is how long to wait for a check to come right; a nudge from the cluster source ends it earlier.
const poll = 2 * time.Second

// untilDeadline is the patience with what usually comes right: the wait's own deadline ends it.
const untilDeadline = time.Duration(math.MaxInt64)

// Function implements functions.Handler.
type Function struct {
	Cluster  *cluster.Client
	Registry registry.Access // how to reach the seed's registry; credentials are the pull secret's
	// Patience is for how long after the start of Prep a registry or a backup storage that does not answer is asked
	// again; 0 means not at all.
	Patience time.Duration
	Now      func() time.Time // nil means time.Now
}

// Handle reacts as the table upgrade.Reactions says.
func (f Function) Handle(ctx context.Context, s upgrade.State, e event.Event) ([]event.Event, error) {
	if s.Phase != upgrade.Validating {
		return nil, nil
	}
	say := func(t events.Type, data any) ([]event.Event, error) {
		return []event.Event{events.Caused(e, "functions/"+Name, t, 0, data)}, nil
	}
	expired := events.TypeOf(e) == events.TypeDeadlinePassed
	subject, findings, err := f.look(ctx, s)
	if expired {
		return say(events.TypePrepFailed, expiry(findings, err))
	}
	if err != nil {
		return nil, cluster.Again(err, "waiting for the cluster's API")
	}
	waiting := ""
	for _, found := range findings {
		switch {
		case found.failure == nil:
		case f.now().Sub(s.PhaseSince) >= found.patience:
			return say(events.TypePrepFailed, events.PrepFailed{Failure: *found.failure, Checks: checks(findings)})
		case waiting == "":
			waiting = found.observed
		}
	}
	if waiting != "" {
		return nil, &functions.Retry{After: poll, Reason: "waiting for the system to stabilize before the Prep stage can continue: " + line(waiting)}
	}
	return say(events.TypePrepValidated, events.PrepValidated{Checks: checks(findings), Seed: subject.seed.Seed, Cluster: subject.identity})
}

func (f Function) now() time.Time {
	if f.Now == nil {
		return time.Now()
	}
	return f.Now()
}

// subject is what the checks are about, and what earlier ones found for later ones.
type subject struct {
	*cluster.Client
	registry registry.Access
	patience time.Duration
	spec     events.UpgradeSpec
	identity events.ClusterIdentity
	access   credentials // for the seed's registry; nil when the pull secret is not usable
	seed     *seedImage  // nil when it could not be inspected
}

// finding is the outcome of one check.
type finding struct {
	name               string
	observed, expected string
	failed             bool
	failure            *events.Failure // nil where the check holds, or could not be made because an earlier one fails
	patience           time.Duration   // for how long after the start of Prep it may still come right
}

// list is every check in the order of importance, which is also that of their dependencies. An error is the API's.
var list = []struct {
	name string
	run  func(*subject, context.Context) (finding, error)
}{
	{"lifecycle-agent", (*subject).foreign},
	{"version", (*subject).newer},
	{"pull-secret", (*subject).pullSecret},
	{"seed-image", (*subject).seedImage},
	{"seed-version", (*subject).seedVersion},
	{"seed-compatible", (*subject).compatible},
	{"backup-content", (*subject).backupContent},
	{"backup-storage", (*subject).backupStorage},
	{"extra-manifests", (*subject).extraManifests},
	{"cluster-health", (*subject).health},
}

func (f Function) look(ctx context.Context, s upgrade.State) (*subject, []finding, error) {
	subject := &subject{Client: f.Cluster, registry: f.Registry, patience: f.Patience, spec: s.Spec}
	version, err := f.Cluster.Resource(cluster.ClusterVersions).Get(ctx, "version", metav1.GetOptions{})
	if err != nil {
		return nil, nil, err
	}
	subject.identity.ID, _, _ = unstructured.NestedString(version.Object, "spec", "clusterID")
	subject.identity.Version, _, _ = unstructured.NestedString(version.Object, "status", "desired", "version")
	findings := make([]finding, 0, len(list))
	for _, check := range list {
		found, err := check.run(subject, ctx)
		if err != nil {
			return nil, findings, err
		}
		found.name = check.name
		findings = append(findings, found)
	}
	return subject, findings, nil
}

// expiry is the failure when the time for validation has passed: what still fails then, or that nothing could be seen.
func expiry(findings []finding, err error) events.PrepFailed {
	for _, found := range findings {
		if found.failure != nil {
			return events.PrepFailed{Failure: *found.failure, Checks: checks(findings)}
		}
	}
	message := "cannot validate the upgrade: the checks did not end in the time that they are given"
	if err != nil {
		message = "cannot validate the upgrade: the cluster's API does not answer: " + line(cluster.Cause(err))
	}
	return events.PrepFailed{Checks: checks(findings), Failure: events.Failure{
		Reason: events.ReasonClusterUnhealthy, Message: message,
		Next: "look at the cluster's API server, set stage Idle, then ask again"}}
}

func checks(findings []finding) []events.Check {
	all := make([]events.Check, len(findings))
	for i, found := range findings {
		all[i] = events.Check{Name: found.name, OK: !found.failed, Observed: line(found.observed), Expected: line(found.expected)}
	}
	return all
}

func holds(observed, expected string) (finding, error) {
	return finding{observed: observed, expected: expected}, nil
}

// fails is a check that does not hold. Message says what cannot be done and why, next what to do about it.
func fails(reason events.Reason, observed, expected, message, next string) (finding, error) {
	return finding{observed: observed, expected: expected, failed: true,
		failure: &events.Failure{Reason: reason, Message: line(message), Next: next}}, nil
}

// blocked is a check that cannot be made because an earlier one fails.
func blocked(by, expected string) (finding, error) {
	return finding{observed: "not looked at: check " + by + " fails", expected: expected, failed: true}, nil
}

// lineLimit is the longest text that a check carries, in bytes.
const lineLimit = 1024

// line is a text in one line, of a length that fits into an event.
func line(text string) string { return events.Line(strings.Join(strings.Fields(text), " "), lineLimit) }
