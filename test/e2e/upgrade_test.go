package e2e_test

import (
	"context"
	"crypto"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/reroot-dev/reroot/events"
	"github.com/reroot-dev/reroot/events/upgrade"
	v1 "github.com/reroot-dev/reroot/functions/api/v1"
	api "github.com/reroot-dev/reroot/functions/cluster"
	"github.com/reroot-dev/reroot/node-executor/crypto/files"
	"github.com/reroot-dev/reroot/node-executor/crypto/pki"
	"github.com/reroot-dev/reroot/node-executor/crypto/scan"
	"github.com/reroot-dev/reroot/node-executor/crypto/site"
	"github.com/reroot-dev/reroot/node-executor/crypto/verify"
	"github.com/reroot-dev/reroot/test/lab/world"
)

// TestUpgrade upgrades a cluster, looks at everything that an upgrade promises, and gives up the way back.
func TestUpgrade(t *testing.T) {
	l := newLab(t, world.Options{})
	l.run()
	before, err := l.resource(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	old := l.w.Target.Stateroot
	l.request("up-1", l.w.Spec(), events.StageUpgrade)
	l.await(events.TypePivotCompleted)
	left := l.digest(old)
	if p := l.settle(upgrade.Upgraded, upgrade.RolledBack, upgrade.UpgradeFailed, upgrade.PrepFailed); p != upgrade.Upgraded {
		t.Fatalf("the upgrade ended in phase %s: %+v", p, l.state.Failure)
	}
	l.verify()
	l.keep("upgrade")
	t.Run("the node calls the new root booted", func(t *testing.T) {
		if got := l.booted(); got != *l.state.New {
			t.Errorf("booted is %+v, want %+v", got, *l.state.New)
		}
	})
	t.Run("names are the target's", l.namesAreTheTargets)
	t.Run("the resource was made again from the journal", func(t *testing.T) {
		after := l.condition(v1.UpgradeCompleted, v1.ReasonCompleted)
		if after.UID == before.UID {
			t.Errorf("it is still %s", before.UID)
		}
		if n, err := strconv.ParseUint(after.Annotations[v1.AnnotationSequence], 10, 64); err != nil || n != l.state.Sequence {
			t.Errorf("it shows event %q, the history ends at %d", after.Annotations[v1.AnnotationSequence], l.state.Sequence)
		}
	})
	t.Run("what was not backed up is not there", l.onlyBackedUp)
	t.Run("no private key of the seed is on the node", l.noSeedKeys)
	t.Run("the old stateroot is as it was left", func(t *testing.T) {
		if now := l.digest(old); now != left {
			t.Errorf("its digest was %s when the node had left it and is %s", left, now)
		}
	})

	l.ask(events.StageIdle)
	l.settle(upgrade.Idle, upgrade.CleanupFailed)
	l.verify()
	if got, want := l.stateroots(), []string{l.state.New.Stateroot}; !slices.Equal(got, want) {
		t.Errorf("stateroots are %v after finalizing, want %v", got, want)
	}
	if u := l.condition(v1.Idle, v1.ReasonIdle); u.Spec.Stage != events.StageIdle {
		t.Errorf("the resource is at stage %s, want Idle", u.Spec.Stage)
	}
	l.keep("finalize")
}

// TestRollback lets the restore fail: the node goes back by itself and everything is as before.
func TestRollback(t *testing.T) {
	l := newLab(t, world.Options{Fail: "restore"})
	l.run()
	status := l.inside("ostree", "admin", "status")
	stateroots := l.stateroots()
	l.request("up-1", l.w.Spec(), events.StageUpgrade)
	if p := l.settle(upgrade.Upgraded, upgrade.RolledBack, upgrade.UpgradeFailed, upgrade.PrepFailed); p != upgrade.RolledBack {
		t.Fatalf("the upgrade ended in phase %s: %+v", p, l.state.Failure)
	}
	if l.state.Trigger != events.TriggerFailure || l.state.Failure == nil || l.state.Failure.Reason != events.ReasonRestoreFailed {
		t.Errorf("it was rolled back by %s because of %+v", l.state.Trigger, l.state.Failure)
	}
	if got := l.booted(); got != *l.state.Old {
		t.Errorf("booted is %+v, want %+v", got, *l.state.Old)
	}
	l.verify()
	l.keep("rollback")

	l.ask(events.StageIdle)
	l.settle(upgrade.Idle, upgrade.CleanupFailed)
	if l.state.Phase != upgrade.Idle {
		t.Fatalf("cleaning up failed: %+v", l.state.Failure)
	}
	l.condition(v1.Idle, v1.ReasonIdle)
	if got := l.stateroots(); !slices.Equal(got, stateroots) {
		t.Errorf("stateroots are %v, were %v", got, stateroots)
	}
	if got := l.inside("ostree", "admin", "status"); got != status {
		t.Errorf("ostree says\n%s\nand said\n%s", got, status)
	}
	l.sound()
}

// namesAreTheTargets asks the new control plane what it and its node are called.
func (l *lab) namesAreTheTargets(t *testing.T) {
	id := l.w.Target.Cluster.Identity
	domain := id.ClusterName + "." + id.BaseDomain
	for _, want := range []struct {
		kind, name, value string
		field             []string
	}{
		{"infrastructures", "cluster", id.InfraID, []string{"status", "infrastructureName"}},
		{"infrastructures", "cluster", fmt.Sprintf("https://api.%s:%d", domain, id.APIPort), []string{"status", "apiServerURL"}},
		{"dnses", "cluster", domain, []string{"spec", "baseDomain"}},
		{"nodes", id.Hostname, id.Hostname, []string{"metadata", "name"}},
	} {
		gvr := schema.GroupVersionResource{Group: "config.openshift.io", Version: "v1", Resource: want.kind}
		if want.kind == "nodes" {
			gvr = api.Nodes
		}
		all, err := l.w.API.Resource(gvr).List(t.Context(), metav1.ListOptions{})
		if err != nil {
			t.Errorf("%s: %v", want.kind, err)
			continue
		}
		if len(all.Items) != 1 || all.Items[0].GetName() != want.name {
			t.Errorf("there are %d %s, want only %s", len(all.Items), want.kind, want.name)
			continue
		}
		if got, _, _ := unstructured.NestedString(all.Items[0].Object, want.field...); got != want.value {
			t.Errorf("%s says %v = %q, want %q", want.kind, want.field, got, want.value)
		}
	}
}

// onlyBackedUp lists the workload's namespace: what the backups named, what Kubernetes itself puts into every
// namespace, nothing else.
func (l *lab) onlyBackedUp(t *testing.T) {
	for gvr, want := range map[schema.GroupVersionResource][]string{
		api.ConfigMaps:  {"catalogue", "kube-root-ca.crt"},
		api.Secrets:     {"payment"},
		api.Deployments: {"storefront"},
	} {
		all, err := l.w.API.Resource(gvr).Namespace("shop").List(t.Context(), metav1.ListOptions{})
		if err != nil {
			t.Errorf("%s: %v", gvr.Resource, err)
			continue
		}
		var got []string
		for _, o := range all.Items {
			got = append(got, o.GetName())
		}
		slices.Sort(got)
		if !slices.Equal(got, want) {
			t.Errorf("%s in the namespace are %v, want %v", gvr.Resource, got, want)
		}
	}
}

// noSeedKeys searches the new root for the private keys that are on the seed's node, in any form.
func (l *lab) noSeedKeys(t *testing.T) {
	seed := tree(t, l.w.Seed.Root, filepath.Join(l.w.Seed.Sysroot, "ostree", "deploy", l.w.Seed.Stateroot, "var"))
	found, err := scan.Scan(t.Context(), seed, scan.Options{})
	if err != nil {
		t.Fatal(err)
	}
	keys := map[pki.KeyID]crypto.Signer{}
	for id, k := range found.Graph.Keys {
		if k.Private != nil {
			keys[id] = k.Private
		}
	}
	if len(keys) < 10 {
		t.Fatalf("only %d private keys are known of the seed", len(keys))
	}
	d := *l.state.New
	stateroot := filepath.Join(l.w.Target.Sysroot, "ostree", "deploy", d.Stateroot)
	root := filepath.Join(stateroot, "deploy", d.Commit+"."+strconv.Itoa(d.Serial))
	problems, err := verify.NoSecrets(context.WithoutCancel(t.Context()), site.Sources(tree(t, root, filepath.Join(stateroot, "var"))), nil, verify.NewNeedles(keys))
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s %s", p.Where, p.What)
	}
}

// tree is what may hold keys on a node: /etc/kubernetes and the kubelet's directory.
func tree(t *testing.T, root, stateVar string) []site.Source {
	t.Helper()
	s, err := files.New([]files.Root{
		{Host: filepath.Join(root, "etc", "kubernetes"), Node: "/etc/kubernetes"},
		{Host: filepath.Join(stateVar, "lib", "kubelet"), Node: "/var/lib/kubelet"},
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return []site.Source{s}
}
