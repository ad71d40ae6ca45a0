package upgrade_test

import (
	"slices"
	"testing"

	"github.com/reroot-dev/reroot/events"
	"github.com/reroot-dev/reroot/events/upgrade"
)

func TestRemovable(t *testing.T) {
	running := &events.Deployment{Stateroot: "rhcos_4.17.0"}
	seed := &events.Deployment{Stateroot: "rhcos_4.18.0"}
	asked := func(version string) events.UpgradeSpec {
		return events.UpgradeSpec{SeedImageRef: events.SeedImageRef{Version: version}}
	}
	valid := events.Seed{Digest: "sha256:00"}
	tests := []struct {
		name string
		s    upgrade.State
		want []string
	}{
		{"a refused request that names what runs, on a node that has not reported", upgrade.State{Spec: asked("4.17.0")}, nil},
		{"an import that the node has not reported", upgrade.State{Spec: asked("4.18.0"), Seed: valid}, []string{"rhcos_4.18.0"}},
		{"an import that is to be given up", upgrade.State{Spec: asked("4.18.0"), Seed: valid, Booted: running, Old: running}, []string{"rhcos_4.18.0"}},
		{"the old root of a confirmed upgrade", upgrade.State{Phase: upgrade.Finalizing, Confirmed: true, Spec: asked("4.18.0"), Seed: valid, Booted: seed, Old: running}, []string{"rhcos_4.17.0"}},
		{"the old root of an upgrade that was not confirmed", upgrade.State{Phase: upgrade.Finalizing, Spec: asked("4.18.0"), Seed: valid, Booted: seed, Old: running}, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := tt.s.Removable()
			if got == nil {
				t.Error("it is null in an event, which the schema refuses")
			}
			if !slices.Equal(got, tt.want) {
				t.Errorf("got %v, want %v", got, tt.want)
			}
		})
	}
}
