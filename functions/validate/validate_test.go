package validate_test

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"k8s.io/client-go/rest"

	"github.com/reroot-dev/reroot/events"
	"github.com/reroot-dev/reroot/events/seed"
	"github.com/reroot-dev/reroot/events/seed/registry"
	"github.com/reroot-dev/reroot/events/upgrade"
	"github.com/reroot-dev/reroot/events/upgrade/upgradetest"
	"github.com/reroot-dev/reroot/functions"
	"github.com/reroot-dev/reroot/functions/cluster"
	"github.com/reroot-dev/reroot/functions/cluster/clustertest"
	"github.com/reroot-dev/reroot/functions/validate"
)

// request is a validation to make: a spec that is right, for a test to spoil.
type request struct {
	spec     events.UpgradeSpec
	function validate.Function
	expired  bool // answer a deadline instead of prep.started
}

// sinceStart is how long after the start of Prep the function is asked.
const sinceStart = 10 * time.Second

func (r request) ask(t *testing.T) ([]event.Event, error) {
	t.Helper()
	raw, err := json.Marshal(r.spec)
	if err != nil {
		t.Fatal(err)
	}
	var spec map[string]any
	if err := json.Unmarshal(raw, &spec); err != nil {
		t.Fatal(err)
	}
	s, y := upgrade.New(upgradetest.Cluster), &upgradetest.Story{Upgrade: "up-1"}
	story := []events.Type{events.TypeUpgradeRequested, events.TypePrepStarted}
	if r.expired {
		story = append(story, events.TypeDeadlinePassed)
	}
	var e event.Event
	for _, kind := range story {
		over := map[string]any{}
		if kind == events.TypeUpgradeRequested {
			over["spec"] = spec
		}
		e = y.Tell(s, kind, over)
		if s, err = s.Apply(e, "h"+e.ID()); err != nil {
			t.Fatal(err)
		}
	}
	r.function.Now = func() time.Time { return s.PhaseSince.Add(sinceStart) }
	out, err := r.function.Handle(t.Context(), s, e)
	for _, o := range out {
		if p := events.Validate(o); p != nil {
			t.Errorf("%s is invalid: %v", o.Type(), p)
		}
		if _, err := s.Apply(o, "h"); err != nil {
			t.Errorf("the fold refuses %s: %v", o.Type(), err)
		}
	}
	return out, err
}

// failed is the answer's prep.failed.
func failed(t *testing.T, out []event.Event, err error) events.PrepFailed {
	t.Helper()
	if err != nil || len(out) != 1 || events.TypeOf(out[0]) != events.TypePrepFailed {
		t.Fatalf("got %v, %v; want prep.failed", out, err)
	}
	f, err := events.Decode[events.PrepFailed](out[0])
	if err != nil {
		t.Fatal(err)
	}
	return f
}

const backupYAML = `
apiVersion: velero.io/v1
kind: Backup
metadata: {name: shop, namespace: openshift-adp, annotations: {lca.openshift.io/apply-wave: "2"}}
spec: {includedNamespaces: [shop]}
`

const restoreYAML = `
apiVersion: velero.io/v1
kind: Restore
metadata: {name: shop, namespace: openshift-adp}
spec: {backupName: shop}
`

var (
	location = map[string]any{"apiVersion": "velero.io/v1", "kind": "BackupStorageLocation", "metadata": map[string]any{"namespace": "openshift-adp", "name": "default"},
		"spec": map[string]any{"provider": "aws", "objectStorage": map[string]any{"bucket": "b"}}, "status": map[string]any{"phase": "Available"}}
	content   = []events.ConfigMapRef{{Namespace: "openshift-adp", Name: "content"}}
	manifests = []events.ConfigMapRef{{Namespace: "default", Name: "manifests"}}
)

// bench is a registry with a seed image, and a spec that asks for it.
func bench(t *testing.T) (host string, r request, digest string) {
	t.Helper()
	host = serve(t)
	create(t, secret(cluster.LCANamespace, "seed-pull", login(host, password)))
	image, digest := push(t, host, "4.17.0", labels(t, seed.ClusterInfo{Version: "4.17.0"}))
	return host, request{
		function: validate.Function{Cluster: world.Client, Registry: registry.Access{Insecure: true}},
		spec:     events.UpgradeSpec{SeedImageRef: events.SeedImageRef{Version: "4.17.0", Image: image, PullSecretRef: &events.SecretRef{Name: "seed-pull"}}},
	}, digest
}

func TestValidated(t *testing.T) {
	host, r, digest := bench(t)
	create(t, location,
		configMap("openshift-adp", "content", map[string]string{"all.yaml": backupYAML + "---" + restoreYAML}),
		configMap("default", "manifests", map[string]string{"a": "{apiVersion: v1, kind: ConfigMap, metadata: {name: a}}\n---\n{apiVersion: new.example/v1, kind: Later, metadata: {name: b}}\n"}))
	r.spec.OADPContent, r.spec.ExtraManifests = content, manifests
	out, err := r.ask(t)
	if err != nil || len(out) != 1 || events.TypeOf(out[0]) != events.TypePrepValidated {
		t.Fatalf("got %v, %v", out, err)
	}
	v, err := events.Decode[events.PrepValidated](out[0])
	if err != nil {
		t.Fatal(err)
	}
	if want := (events.ClusterIdentity{ID: clustertest.ID, Version: clustertest.Version}); v.Cluster != want {
		t.Errorf("cluster %+v", v.Cluster)
	}
	if v.Seed.Image != host+"/okd/seed@"+digest || v.Seed.Digest != digest || v.Seed.Version != "4.17.0" || v.Seed.FormatVersion != 4 || v.Seed.Bytes < 1024 {
		t.Errorf("seed %+v", v.Seed)
	}
	observed := map[string]string{}
	for _, c := range v.Checks {
		if !c.OK {
			t.Errorf("%s: observed %q, expected %q", c.Name, c.Observed, c.Expected)
		}
		observed[c.Name] = c.Observed
	}
	for name, want := range map[string]string{
		"version": "4.17.0", "backup-content": "1 Backups with their Restores, in 1 waves",
		"extra-manifests": "2 objects in 1 waves; Later[b]: this cluster does not serve the kind", "backup-storage": "1 Available",
	} {
		if observed[name] != want {
			t.Errorf("check %s observed %q, want %q", name, observed[name], want)
		}
	}
}

// TestFailed spoils one thing at a time. Every failure says what cannot be done, why, and what to do next.
func TestFailed(t *testing.T) {
	tests := []struct {
		name    string
		spoil   func(t *testing.T, host string, r *request)
		reason  events.Reason
		check   string
		message []string // parts
	}{
		{"seed is not newer", func(_ *testing.T, _ string, r *request) { r.spec.SeedImageRef.Version = clustertest.Version },
			events.ReasonSeedNotNewer, "version", []string{"cannot upgrade to version 4.16.0: it is not higher than the cluster's version 4.16.0"}},
		{"seed is a pre-release of the cluster's version", func(_ *testing.T, _ string, r *request) { r.spec.SeedImageRef.Version = "4.16.0-rc.1" },
			events.ReasonSeedNotNewer, "version", []string{"cannot upgrade to version 4.16.0-rc.1"}},
		{"no pull secret", func(_ *testing.T, _ string, r *request) { r.spec.SeedImageRef.PullSecretRef.Name = "nowhere" },
			events.ReasonPullSecretMissing, "pull-secret", []string{"cannot read pull secret openshift-lifecycle-agent/nowhere: it does not exist"}},
		{"pull secret is no JSON", func(t *testing.T, _ string, r *request) {
			create(t, secret(cluster.LCANamespace, "broken", "hunter2"))
			r.spec.SeedImageRef.PullSecretRef.Name = "broken"
		}, events.ReasonPullSecretMissing, "pull-secret", []string{"it is not the JSON of a pull secret"}},
		{"pull secret without the key", func(t *testing.T, _ string, r *request) {
			create(t, map[string]any{"apiVersion": "v1", "kind": "Secret", "metadata": map[string]any{"namespace": cluster.LCANamespace, "name": "keyless"}})
			r.spec.SeedImageRef.PullSecretRef.Name = "keyless"
		}, events.ReasonPullSecretMissing, "pull-secret", []string{"it has no key .dockerconfigjson"}},
		{"the cluster's pull secret does not know the registry", func(_ *testing.T, _ string, r *request) { r.spec.SeedImageRef.PullSecretRef = nil },
			events.ReasonSeedUnauthorized, "seed-image", []string{"cannot use seed image"}},
		{"credentials are wrong", func(t *testing.T, host string, r *request) {
			create(t, secret(cluster.LCANamespace, "stranger", login(host, "wrong")))
			r.spec.SeedImageRef.PullSecretRef.Name = "stranger"
		}, events.ReasonSeedUnauthorized, "seed-image", []string{"cannot use seed image"}},
		{"registry does not answer", func(_ *testing.T, _ string, r *request) {
			r.spec.SeedImageRef.Image = "127.0.0.1:1/okd/seed:4.17.0"
		}, events.ReasonSeedUnreachable, "seed-image", []string{"cannot use seed image 127.0.0.1:1/okd/seed:4.17.0", "connection refused"}},
		{"no such image", func(_ *testing.T, host string, r *request) { r.spec.SeedImageRef.Image = host + "/okd/seed:none" },
			events.ReasonSeedNotFound, "seed-image", []string{"cannot use seed image"}},
		{"no pull spec", func(_ *testing.T, _ string, r *request) { r.spec.SeedImageRef.Image = "seed:4.17.0" },
			events.ReasonSeedNotFound, "seed-image", []string{"it is no pull spec"}},
		{"not a seed image", func(t *testing.T, host string, r *request) {
			r.spec.SeedImageRef.Image, _ = push(t, host, "plain", nil)
		}, events.ReasonSeedFormat, "seed-image", []string{seed.LabelFormat}},
		{"format that is not supported", func(t *testing.T, host string, r *request) {
			l := labels(t, seed.ClusterInfo{Version: "4.17.0"})
			l[seed.LabelFormat] = "3"
			r.spec.SeedImageRef.Image, _ = push(t, host, "old", l)
		}, events.ReasonSeedFormat, "seed-image", []string{"is 3, only 4 is supported"}},
		{"image holds another version", func(t *testing.T, host string, r *request) {
			r.spec.SeedImageRef.Image, _ = push(t, host, "moved", labels(t, seed.ClusterInfo{Version: "4.18.0"}))
		}, events.ReasonSeedVersionMismatch, "seed-version", []string{"it holds version 4.18.0, not 4.17.0"}},
		{"only the seed has a proxy and FIPS mode", func(t *testing.T, host string, r *request) {
			r.spec.SeedImageRef.Image, _ = push(t, host, "proxied", labels(t, seed.ClusterInfo{Version: "4.17.0", HasProxy: true, HasFIPS: true}))
		}, events.ReasonSeedIncompatible, "seed-compatible", []string{"the seed has a proxy, the cluster has none", "the seed has FIPS mode"}},
		{"only the cluster has a proxy", func(t *testing.T, _ string, _ *request) {
			change(t, "config.openshift.io/v1", "Proxy", "", "cluster", "", `{"spec":{"httpsProxy":"http://proxy.lab:3128"}}`)
		}, events.ReasonSeedIncompatible, "seed-compatible", []string{"the seed has none, the cluster has a proxy"}},
		{"only the cluster has a CA bundle", func(t *testing.T, host string, r *request) {
			create(t, configMap("openshift-config", "user-ca-bundle", nil))
			r.spec.SeedImageRef.Image, _ = push(t, host, "bundle", labels(t, seed.ClusterInfo{Version: "4.17.0", TrustBundle: &seed.TrustBundle{}}))
		}, events.ReasonSeedIncompatible, "seed-compatible", []string{"the seed has none, the cluster has a user CA bundle"}},
		{"no such ConfigMap", func(t *testing.T, _ string, r *request) { r.spec.OADPContent = content },
			events.ReasonConfigMapInvalid, "backup-content", []string{"cannot use the ConfigMaps of spec.oadpContent: ConfigMap openshift-adp/content does not exist"}},
		{"ConfigMap with everything wrong", func(t *testing.T, _ string, r *request) {
			create(t, configMap("openshift-adp", "content", map[string]string{
				"a.yaml": backupYAML, "b.yaml": "kind: [", "c.yaml": strings.ReplaceAll(restoreYAML, "name: shop", `name: other, annotations: {lca.openshift.io/apply-wave: first}`)}))
			r.spec.OADPContent = content
		}, events.ReasonConfigMapInvalid, "backup-content", []string{"openshift-adp/content[b.yaml], document 1", "is \"first\", not a number"}},
		{"Restore of a Backup that is not there", func(t *testing.T, _ string, r *request) {
			create(t, configMap("openshift-adp", "content", map[string]string{"a": backupYAML, "b": strings.ReplaceAll(restoreYAML, "backupName: shop", "backupName: shed")}))
			r.spec.OADPContent = content
		}, events.ReasonConfigMapInvalid, "backup-content", []string{`Restore shop names Backup "shed", which is not there`, "Backup shop has 0 Restores, not one"}},
		{"Backup that the API server refuses", func(t *testing.T, _ string, r *request) {
			create(t, configMap("openshift-adp", "content", map[string]string{"a": strings.ReplaceAll(backupYAML, "[shop]", "shop"), "b": restoreYAML}))
			r.spec.OADPContent = content
		}, events.ReasonConfigMapInvalid, "backup-content", []string{"openshift-adp/content[a]"}},
		{"no storage location", func(t *testing.T, _ string, r *request) {
			create(t, configMap("openshift-adp", "content", map[string]string{"a": backupYAML, "b": restoreYAML}))
			r.spec.OADPContent = content
		}, events.ReasonBackupStorageUnavailable, "backup-storage", []string{"cannot back up: there is no BackupStorageLocation in namespace openshift-adp"}},
		{"storage location that cannot be reached", func(t *testing.T, _ string, r *request) {
			create(t, location, configMap("openshift-adp", "content", map[string]string{"a": backupYAML, "b": restoreYAML}))
			change(t, "velero.io/v1", "BackupStorageLocation", "openshift-adp", "default", "", `{"status":{"phase":"Unavailable","message":"no such bucket"}}`)
			r.spec.OADPContent = content
		}, events.ReasonBackupStorageUnavailable, "backup-storage", []string{"BackupStorageLocation default is Unavailable: no such bucket"}},
		{"manifest of a forbidden kind", func(t *testing.T, _ string, r *request) {
			create(t, configMap("default", "manifests", map[string]string{"a": "{apiVersion: machineconfiguration.openshift.io/v1, kind: MachineConfig, metadata: {name: 99-x}}"}))
			r.spec.ExtraManifests = manifests
		}, events.ReasonConfigMapInvalid, "extra-manifests", []string{"cannot use the ConfigMaps of spec.extraManifests: default/manifests[a]: MachineConfig[99-x] in extra manifests is not allowed"}},
		{"manifest without a name", func(t *testing.T, _ string, r *request) {
			create(t, configMap("default", "manifests", map[string]string{"a": "{apiVersion: v1, kind: ConfigMap}"}))
			r.spec.ExtraManifests = manifests
		}, events.ReasonConfigMapInvalid, "extra-manifests", []string{"ConfigMap resource name is empty"}},
		{"the lifecycle-agent runs", func(t *testing.T, _ string, _ *request) {
			create(t, map[string]any{"apiVersion": "apps/v1", "kind": "Deployment", "metadata": map[string]any{"namespace": cluster.LCANamespace, "name": "lifecycle-agent-controller-manager"},
				"spec": map[string]any{"selector": map[string]any{"matchLabels": map[string]any{"a": "b"}}, "template": map[string]any{"metadata": map[string]any{"labels": map[string]any{"a": "b"}}, "spec": map[string]any{"containers": []any{map[string]any{"name": "m", "image": "i"}}}}}})
		}, events.ReasonForeignController, "lifecycle-agent", []string{"cannot upgrade beside the lifecycle-agent"}},
		{"operator degraded until the deadline", func(t *testing.T, _ string, r *request) {
			degrade(t)
			r.expired = true
		}, events.ReasonClusterUnhealthy, "cluster-health", []string{"cannot upgrade an unhealthy cluster: ", "ClusterOperator dns is Degraded=True (it is lost)"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			host, r, _ := bench(t)
			tt.spoil(t, host, &r)
			out, err := r.ask(t)
			f := failed(t, out, err)
			if f.Reason != tt.reason {
				t.Errorf("reason %s: %s", f.Reason, f.Message)
			}
			for _, part := range tt.message {
				if !strings.Contains(f.Message, part) {
					t.Errorf("message %q does not say %q", f.Message, part)
				}
			}
			if !strings.HasPrefix(f.Message, "cannot ") || !strings.Contains(f.Message, ": ") || strings.Contains(f.Message, "\n") || !strings.Contains(f.Next, "then ask again") {
				t.Errorf("it is not worded as what, why and what next: %q; %q", f.Message, f.Next)
			}
			if strings.Contains(f.Message, password) || strings.Contains(f.Message, "hunter2") {
				t.Errorf("message %q tells a secret", f.Message)
			}
			if len(f.Checks) != 10 {
				t.Errorf("%d checks, not all", len(f.Checks))
			}
			first := slices.IndexFunc(f.Checks, func(c events.Check) bool { return !c.OK })
			if first < 0 || f.Checks[first].Name != tt.check || f.Checks[first].Observed == "" || f.Checks[first].Expected == "" {
				t.Errorf("the first check that fails is not %s: %+v", tt.check, f.Checks)
			}
		})
	}
}

// TestPullSecretForms: all forms in which credentials are written are understood, and the longest name wins.
func TestPullSecretForms(t *testing.T) {
	host, r, _ := bench(t)
	good := base64.StdEncoding.EncodeToString([]byte(user + ":" + password))
	for name, content := range map[string]string{
		"auth":                  fmt.Sprintf(`{"auths":{%q:{"auth":%q}}}`, host, good),
		"of an old tool":        fmt.Sprintf(`{"auths":{"https://%s/v1/":{"auth":%q}}}`, host, good),
		"of the repository":     fmt.Sprintf(`{"auths":{%q:{"auth":"d3Jvbmc6d3Jvbmc="},"%s/okd":{"auth":%q}}}`, host, host, good),
		"of another repository": fmt.Sprintf(`{"auths":{%q:{"auth":%q},"%s/okd/seedling":{"auth":"d3Jvbmc6d3Jvbmc="}}}`, host, good, host),
	} {
		t.Run(name, func(t *testing.T) {
			create(t, secret(cluster.LCANamespace, "form", content))
			r.spec.SeedImageRef.PullSecretRef = &events.SecretRef{Name: "form"}
			out, err := r.ask(t)
			if err != nil || len(out) != 1 || events.TypeOf(out[0]) != events.TypePrepValidated {
				t.Errorf("%v, %v", out, err)
			}
		})
	}
}

func degrade(t *testing.T) {
	t.Helper()
	change(t, "config.openshift.io/v1", "ClusterOperator", "", "dns", "status", `{"status":{"conditions":[
		{"type":"Available","status":"True","lastTransitionTime":"2026-11-22T12:00:00Z"},
		{"type":"Progressing","status":"False","lastTransitionTime":"2026-11-22T12:00:00Z"},
		{"type":"Degraded","status":"True","message":"it is lost","lastTransitionTime":"2026-11-22T12:00:00Z"}]}}`)
}

// TestWaits: what may come right by itself is waited for, unless something else fails for good.
func TestWaits(t *testing.T) {
	tests := []struct {
		name  string
		spoil func(t *testing.T, host string, r *request)
		want  string // part of the wait's reason; "" where it fails at once
	}{
		{"an operator is degraded", func(t *testing.T, _ string, _ *request) { degrade(t) }, "before the Prep stage can continue: ClusterOperator dns is Degraded"},
		{"an operator is degraded, and the seed is not newer", func(t *testing.T, _ string, r *request) {
			degrade(t)
			r.spec.SeedImageRef.Version = "4.15.0"
		}, ""},
		{"registry is away for a moment", func(_ *testing.T, _ string, r *request) {
			r.function.Patience = time.Minute
			r.spec.SeedImageRef.Image = "127.0.0.1:1/okd/seed:4.17.0"
		}, "connection refused"},
		{"registry is away for longer", func(_ *testing.T, _ string, r *request) {
			r.function.Patience = sinceStart
			r.spec.SeedImageRef.Image = "127.0.0.1:1/okd/seed:4.17.0"
		}, ""},
		{"API server is away", func(t *testing.T, _ string, r *request) {
			away, err := cluster.Connect(&rest.Config{Host: "https://127.0.0.1:1"})
			if err != nil {
				t.Fatal(err)
			}
			r.function.Cluster = away
		}, "waiting for the cluster's API: "},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			host, r, _ := bench(t)
			tt.spoil(t, host, &r)
			out, err := r.ask(t)
			if tt.want == "" {
				failed(t, out, err)
				return
			}
			again := (*functions.Retry)(nil)
			if !errors.As(err, &again) || !strings.Contains(again.Reason, tt.want) || again.After <= 0 {
				t.Errorf("got %v, %v", out, err)
			}
		})
	}
}
