package trigger_test

import (
	"bytes"
	"context"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/rickb777/date/period"
	"go.uber.org/zap"
	delivery "knative.dev/eventing/pkg/apis/duck/v1"
	"knative.dev/eventing/pkg/apis/feature"
	"knative.dev/eventing/pkg/eventfilter"
	"knative.dev/eventing/pkg/eventfilter/subscriptionsapi"
	"knative.dev/pkg/apis"
	"sigs.k8s.io/yaml"

	eventingv1 "knative.dev/eventing/pkg/apis/eventing/v1"
	servingv1 "knative.dev/serving/pkg/apis/serving/v1"

	"github.com/reroot-dev/reroot/events"
	"github.com/reroot-dev/reroot/events/upgrade"
	"github.com/reroot-dev/reroot/events/upgrade/upgradetest"
	"github.com/reroot-dev/reroot/functions/trigger"
)

// manifest is what lies in deploy/knative.
const manifest = "../../deploy/knative/functions.yaml"

func TestManifestIsGenerated(t *testing.T) {
	have, err := os.ReadFile(manifest)
	if err != nil {
		t.Fatal(err)
	}
	want, err := trigger.Manifest()
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(have, want) {
		t.Errorf("%s is stale; run go generate", manifest)
	}
}

// applied are the objects of the manifest as Knative's admission leaves them, each of them valid.
func applied(t *testing.T) (triggers map[string]*eventingv1.Trigger, services map[string]*servingv1.Service) {
	t.Helper()
	text, err := os.ReadFile(manifest)
	if err != nil {
		t.Fatal(err)
	}
	triggers, services = map[string]*eventingv1.Trigger{}, map[string]*servingv1.Service{}
	for _, doc := range bytes.Split(text, []byte("---\n"))[1:] {
		var kind struct{ Kind string }
		if err := yaml.Unmarshal(doc, &kind); err != nil {
			t.Fatal(err)
		}
		switch kind.Kind {
		case "Trigger":
			o := read[eventingv1.Trigger](t, doc)
			triggers[o.Name] = o
		case "Service":
			o := read[servingv1.Service](t, doc)
			services[o.Name] = o
		default:
			t.Fatalf("a %q is in %s", kind.Kind, manifest)
		}
	}
	return triggers, services
}

// object is what both kinds have in common for Knative's admission webhook.
type object[T any] interface {
	*T
	apis.Defaultable
	apis.Validatable
}

func read[T any, P object[T]](t *testing.T, doc []byte) P {
	t.Helper()
	o := P(new(T))
	if err := yaml.UnmarshalStrict(doc, o); err != nil {
		t.Fatalf("cannot read as %T: %v\n%s", o, err, doc)
	}
	ctx := admission()
	o.SetDefaults(ctx)
	if err := o.Validate(ctx); err != nil {
		t.Errorf("Knative refuses or warns: %v\n%s", err, doc)
	}
	return o
}

// admission is what a Knative installation with its default features checks with.
func admission() context.Context {
	return feature.ToContext(context.Background(), feature.Flags{feature.DeliveryTimeout: feature.Enabled})
}

func TestEveryFunctionIsServed(t *testing.T) {
	triggers, services := applied(t)
	names := trigger.Functions()
	for _, r := range upgrade.Reactions {
		if served := slices.Contains(names, r.Function); served == (r.Function == "node") {
			t.Errorf("%s is served: %t", r.Function, served)
		}
	}
	if len(triggers) != len(names) || len(services) != len(names) {
		t.Errorf("%d triggers and %d services for %d functions", len(triggers), len(services), len(names))
	}
	for _, name := range names {
		tr := triggers[name]
		if tr == nil || tr.Spec.Subscriber.Ref == nil || tr.Spec.Subscriber.Ref.Kind != "Service" {
			t.Errorf("%s has no trigger with a service", name)
			continue
		}
		s := services[tr.Spec.Subscriber.Ref.Name]
		if s == nil {
			t.Errorf("the trigger of %s leads nowhere", name)
			continue
		}
		template := s.Spec.Template
		if args := template.Spec.Containers[0].Args; !slices.Equal(args, []string{"--function", name}) {
			t.Errorf("the service of %s runs %v", name, args)
		}
		if template.Annotations["autoscaling.knative.dev/min-scale"] != "0" {
			t.Errorf("%s does not scale to zero", name)
		}
		writes := name == "backup" || name == "restore" || name == "project"
		if single := *template.Spec.ContainerConcurrency == 1 && template.Annotations["autoscaling.knative.dev/max-scale"] == "1"; single != writes {
			t.Errorf("%s, which changes objects: %t, is called one at a time: %t", name, writes, single)
		}
	}
}

// filter is a trigger's: one of its members has to let an event pass. Each member is Knative's own filter; its filter
// for any of them is left out, because it sorts them in the background while it reads them, which is a data race.
type filter []eventfilter.Filter

func filterOf(t *testing.T, tr *eventingv1.Trigger) (f filter) {
	t.Helper()
	if len(tr.Spec.Filters) != 1 || len(tr.Spec.Filters[0].Any) == 0 {
		t.Fatalf("the filter of %s is not one of any: %v", tr.Name, tr.Spec.Filters)
	}
	for i := range tr.Spec.Filters[0].Any {
		f = append(f, subscriptionsapi.CreateSubscriptionsAPIFilters(zap.NewNop(), tr.Spec.Filters[0].Any[i:i+1]))
	}
	return f
}

func (f filter) passes(ctx context.Context, e event.Event) bool {
	return slices.ContainsFunc(f, func(m eventfilter.Filter) bool { return m.Filter(ctx, e) == eventfilter.PassFilter })
}

// TestRoutes sends every type of the catalogue through the filters that Knative makes of the triggers.
func TestRoutes(t *testing.T) {
	triggers, _ := applied(t)
	filters := map[string]filter{}
	for name, tr := range triggers {
		filters[name] = filterOf(t, tr)
	}
	for _, d := range events.Catalogue() {
		t.Run(d.Type.Short(), func(t *testing.T) {
			story := &upgradetest.Story{Upgrade: "up-1"}
			e := story.Tell(upgrade.New(upgradetest.Cluster), d.Type, nil)
			for name, filter := range filters {
				reacts := slices.ContainsFunc(upgrade.Reactions, func(r upgrade.Reaction) bool { return r.Function == name && r.On == d.Type })
				want := reacts || name == "project" && d.Kind != events.Ephemeral
				if got := filter.passes(t.Context(), e); got != want {
					t.Errorf("%s gets it: %t, want %t", name, got, want)
				}
			}
		})
	}
}

// TestCallsOutlastEveryWait parses durations as Knative does, and adds up its linear back-off: n times the delay.
func TestCallsOutlastEveryWait(t *testing.T) {
	triggers, services := applied(t)
	longest := max(upgrade.ValidateLimit, upgrade.BackupLimit, upgrade.CleanupLimit)
	for name, tr := range triggers {
		t.Run(name, func(t *testing.T) {
			d := tr.Spec.Delivery
			pause, limit := duration(t, *d.BackoffDelay), duration(t, *d.Timeout)
			if *d.BackoffPolicy != delivery.BackoffPolicyLinear || pause < 100*time.Millisecond {
				t.Errorf("back-off is %s with %s", *d.BackoffPolicy, pause)
			}
			n := time.Duration(*d.Retry)
			if total := n * (n - 1) / 2 * pause; total < longest {
				t.Errorf("after %s nobody is called any more; a wait may last %s", total, longest)
			}
			if late := n * pause; late > 2*time.Minute {
				t.Errorf("the last redelivery comes %s late", late)
			}
			serving := time.Duration(*services["fn-"+name].Spec.Template.Spec.TimeoutSeconds) * time.Second
			if limit != serving || limit > 10*time.Minute {
				t.Errorf("the trigger gives up after %s, the service after %s", limit, serving)
			}
		})
	}
}

func duration(t *testing.T, iso string) time.Duration {
	t.Helper()
	p, err := period.Parse(iso)
	if err != nil {
		t.Fatal(err)
	}
	d, precise := p.Duration()
	if !precise {
		t.Errorf("%s is not precise", iso)
	}
	return d
}
