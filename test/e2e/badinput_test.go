package e2e_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/reroot-dev/reroot/events"
	"github.com/reroot-dev/reroot/events/journal"
	"github.com/reroot-dev/reroot/events/seed"
	"github.com/reroot-dev/reroot/events/upgrade"
	v1 "github.com/reroot-dev/reroot/functions/api/v1"
	api "github.com/reroot-dev/reroot/functions/cluster"
	"github.com/reroot-dev/reroot/test/lab/cluster"
	"github.com/reroot-dev/reroot/test/lab/world"
)

// TestBadInput asks for upgrades that cannot be, one after the other, of one node: each ends with its reason and leaves
// the node as it was.
func TestBadInput(t *testing.T) {
	l := newLab(t, world.Options{})
	l.run()
	status, stateroots := l.inside("ostree", "admin", "status"), l.stateroots()
	boot := l.inside("cat", "/proc/sys/kernel/random/boot_id")
	tests := []struct {
		name   string
		spoil  func(t *testing.T, spec *events.UpgradeSpec) // makes the good request a bad one
		reason events.Reason
	}{
		{"seed is not newer", func(_ *testing.T, s *events.UpgradeSpec) {
			s.SeedImageRef.Version = l.w.Target.Cluster.Identity.Version
		}, events.ReasonSeedNotNewer},
		{"registry does not answer", func(_ *testing.T, s *events.UpgradeSpec) { s.SeedImageRef.Image = "127.0.0.1:1/seeds/lab:4.18.0" }, events.ReasonSeedUnreachable},
		{"seed is not in the registry", func(_ *testing.T, s *events.UpgradeSpec) { s.SeedImageRef.Image += "-gone" }, events.ReasonSeedNotFound},
		{"pull secret is missing", func(_ *testing.T, s *events.UpgradeSpec) {
			s.SeedImageRef.PullSecretRef = &events.SecretRef{Name: "nowhere"}
		}, events.ReasonPullSecretMissing},
		{"ConfigMap is malformed", l.malformed, events.ReasonConfigMapInvalid},
		{"ConfigMap is missing", func(_ *testing.T, s *events.UpgradeSpec) { s.OADPContent[0].Name = "nowhere" }, events.ReasonConfigMapInvalid},
		{"format of the seed is another", l.relabelled(seed.LabelFormat, "3"), events.ReasonSeedFormat},
		{"image is not a seed", l.relabelled(seed.LabelFormat, ""), events.ReasonSeedFormat},
		{"layer is corrupt", l.corrupted, events.ReasonSeedCorrupt},
	}
	for i, tt := range tests {
		ok := t.Run(tt.name, func(t *testing.T) {
			l := l.of(t)
			spec := l.w.Spec()
			spec.OADPContent = slices.Clone(spec.OADPContent)
			tt.spoil(t, &spec)
			l.request(fmt.Sprintf("bad-%d", i), spec, events.StageUpgrade)
			if p := l.settle(upgrade.PrepFailed, upgrade.Prepared, upgrade.Upgraded); p != upgrade.PrepFailed {
				t.Fatalf("it ended in phase %s", p)
			}
			f := l.state.Failure
			if f.Reason != tt.reason || f.Message == "" || f.Next == "" {
				t.Errorf("it failed with %+v, want reason %s", f, tt.reason)
			}
			l.condition(v1.PrepCompleted, v1.ReasonFailed)
			l.idle()
		})
		if !ok {
			t.FailNow() // one node for all: it may still be at it
		}
	}
	t.Run("requests that the state does not allow", l.notNow)
	if got := l.inside("ostree", "admin", "status"); got != status {
		t.Errorf("ostree says\n%s\nand said\n%s", got, status)
	}
	if got := l.stateroots(); !slices.Equal(got, stateroots) {
		t.Errorf("stateroots are %v, were %v", got, stateroots)
	}
	if got := l.inside("cat", "/proc/sys/kernel/random/boot_id"); got != boot {
		t.Error("the node has booted")
	}
}

// of is the lab in a subtest.
func (l *lab) of(t *testing.T) *lab {
	sub := *l
	sub.T = t
	t.Cleanup(func() { l.state = sub.state })
	return &sub
}

// idle asks for Idle and waits for it.
func (l *lab) idle() {
	l.Helper()
	l.ask(events.StageIdle)
	if p := l.settle(upgrade.Idle, upgrade.CleanupFailed); p != upgrade.Idle {
		l.Fatalf("cleaning up failed: %+v", l.state.Failure)
	}
	l.condition(v1.Idle, v1.ReasonIdle)
}

// notNow prepares a good upgrade and asks for what cannot follow: another upgrade, and a stage that is not next.
func (l *lab) notNow(t *testing.T) {
	l = l.of(t)
	l.request("good", l.w.Spec(), events.StagePrep)
	l.settle(upgrade.Prepared, upgrade.PrepFailed)
	l.request("second", l.w.Spec(), events.StagePrep)
	l.eventually("the second upgrade is parked", l.parked("second", events.ReasonUpgradeInProgress))
	l.ask(events.StageRollback)
	e := l.await(events.TypeStageRejected).Event
	r, err := events.Decode[events.StageRejected](e)
	if err != nil {
		t.Fatal(err)
	}
	if want := []events.Stage{events.StageIdle, events.StageUpgrade}; r.Reason != events.ReasonIllegalTransition || !slices.Equal(r.ValidNextStages, want) {
		t.Errorf("the answer is %+v, want reason %s and stages %v", r, events.ReasonIllegalTransition, want)
	}
	l.submit(events.TypeStageRequested, "good", map[string]any{"stage": "Sideways"})
	l.eventually("the unknown stage is parked", l.parked("good", events.ReasonInvalidEvent))
	if l.state.Phase != upgrade.Prepared {
		t.Errorf("the upgrade is in phase %s, want Prepared", l.state.Phase)
	}
	l.idle()
	l.keep("abort")
}

// parked tries to find a parked request of an upgrade.
func (l *lab) parked(upgrade string, reason events.Reason) func(context.Context) error {
	return func(ctx context.Context) error {
		parked, err := l.store.Parked(ctx, l.w.Record.Cluster)
		if err != nil {
			return err
		}
		if !slices.ContainsFunc(parked, func(p journal.Parked) bool {
			return p.Event != nil && p.Event.Subject() == upgrade && p.Reason == reason
		}) {
			return fmt.Errorf("parked are %+v", parked)
		}
		return nil
	}
}

// malformed names a ConfigMap that holds no manifest.
func (l *lab) malformed(t *testing.T, s *events.UpgradeSpec) {
	u, err := api.Unstructured(&corev1.ConfigMap{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "ConfigMap"},
		ObjectMeta: metav1.ObjectMeta{Namespace: cluster.BackupNamespace, Name: "malformed"},
		Data:       map[string]string{"backup.yaml": "kind: [Backup\n"},
	})
	if err != nil {
		t.Fatal(err)
	}
	configMaps := l.w.API.Resource(api.ConfigMaps).Namespace(cluster.BackupNamespace)
	if _, err := configMaps.Create(t.Context(), u, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	s.OADPContent[0].Name = "malformed"
}

// relabelled names a copy of the seed image whose label has another value, "" for none.
func (l *lab) relabelled(label, value string) func(*testing.T, *events.UpgradeSpec) {
	return func(t *testing.T, s *events.UpgradeSpec) {
		ref, err := name.ParseReference(s.SeedImageRef.Image, name.Insecure)
		if err != nil {
			t.Fatal(err)
		}
		img, err := remote.Image(ref)
		if err != nil {
			t.Fatal(err)
		}
		config, err := img.ConfigFile()
		if err != nil {
			t.Fatal(err)
		}
		config = config.DeepCopy()
		if config.Config.Labels[label] = value; value == "" {
			delete(config.Config.Labels, label)
		}
		if img, err = mutate.ConfigFile(img, config); err != nil {
			t.Fatal(err)
		}
		other := ref.Context().Tag("relabelled-" + value)
		if err := remote.Write(other, img); err != nil {
			t.Fatal(err)
		}
		s.SeedImageRef.Image = other.String()
	}
}

// corrupted changes one byte in the middle of the seed's layer, in the registry, until the test has ended.
func (l *lab) corrupted(t *testing.T, s *events.UpgradeSpec) {
	ref, err := name.ParseReference(s.SeedImageRef.Image, name.Insecure)
	if err != nil {
		t.Fatal(err)
	}
	img, err := remote.Image(ref)
	if err != nil {
		t.Fatal(err)
	}
	layers, err := img.Layers()
	if err != nil || len(layers) != 1 {
		t.Fatalf("the seed has %d layers: %v", len(layers), err)
	}
	digest, err := layers[0].Digest()
	if err != nil {
		t.Fatal(err)
	}
	blob := filepath.Join(l.w.Dir, "registry", digest.Algorithm, digest.Hex)
	f, err := os.OpenFile(blob, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	at, one := info.Size()/2, make([]byte, 1)
	flip := func() {
		if _, err := f.ReadAt(one, at); err != nil {
			t.Error(err)
		}
		one[0] ^= 1
		if _, err := f.WriteAt(one, at); err != nil {
			t.Error(err)
		}
	}
	flip()
	t.Cleanup(func() { flip(); _ = f.Close() })
}
