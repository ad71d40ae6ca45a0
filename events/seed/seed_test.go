package seed_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/reroot-dev/reroot/events"
	"github.com/reroot-dev/reroot/events/seed"
)

func TestLabelsRoundTrip(t *testing.T) {
	want := seed.ClusterInfo{
		Version: "4.17.0-rc.1", BaseDomain: "example.test", ClusterName: "seed", NodeIPs: []string{"192.0.2.1"},
		HasFIPS: true, TrustBundle: &seed.TrustBundle{HasUserCABundle: true, ProxyConfigMapName: "user-ca-bundle"},
		IngressCN: "ingress-operator@1700000000",
	}
	labels, err := seed.Labels(want)
	if err != nil {
		t.Fatal(err)
	}
	got, err := seed.ParseLabels(labels)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(seed.Info{FormatVersion: 4, Cluster: want}, got); diff != "" {
		t.Errorf("labels differ (-want +got):\n%s", diff)
	}
}

func TestParseLabels(t *testing.T) {
	const info = `{"seed_cluster_ocp_version":"4.17.0","has_proxy":true,"node_ip":"192.0.2.1","of_a_newer_release":{}}`
	for name, tc := range map[string]struct {
		labels map[string]string
		want   string // of the error; empty: accepted
	}{
		"an older seed":         {map[string]string{seed.LabelFormat: "4", seed.LabelClusterInfo: info}, ""},
		"no labels":             {nil, "no seed image"},
		"format is no number":   {map[string]string{seed.LabelFormat: "four", seed.LabelClusterInfo: info}, `"four", not a number`},
		"format is newer":       {map[string]string{seed.LabelFormat: "5", seed.LabelClusterInfo: info}, "is 5, only 4"},
		"format is older":       {map[string]string{seed.LabelFormat: "3", seed.LabelClusterInfo: info}, "is 3, only 4"},
		"no cluster":            {map[string]string{seed.LabelFormat: "4"}, "is missing"},
		"cluster is no JSON":    {map[string]string{seed.LabelFormat: "4", seed.LabelClusterInfo: "{"}, "is not the cluster information"},
		"cluster of no version": {map[string]string{seed.LabelFormat: "4", seed.LabelClusterInfo: "{}"}, "names no version"},
		"cluster is huge":       {map[string]string{seed.LabelFormat: "4", seed.LabelClusterInfo: info + strings.Repeat(" ", 1<<20)}, "is longer"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := seed.ParseLabels(tc.labels)
			if tc.want == "" {
				if err != nil || got.Cluster.Version != "4.17.0" || !got.Cluster.HasProxy || got.Cluster.NodeIP != "192.0.2.1" {
					t.Errorf("got %+v, %v", got, err)
				}
				return
			}
			var format *seed.FormatError
			if !errors.As(err, &format) || format.Reason() != events.ReasonSeedFormat || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("error %v, want %q", err, tc.want)
			}
		})
	}
}
