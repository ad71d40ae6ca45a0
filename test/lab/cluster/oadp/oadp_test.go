package oadp_test

import (
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"github.com/reroot-dev/reroot/test/lab/cluster/oadp"
)

func TestLocations(t *testing.T) {
	for _, test := range []struct {
		name, spec string
		want       string // name of each location and its bucket
		err        string
	}{
		{"none", "{}", "", ""},
		{"named", "{backupLocations: [{name: default, velero: {provider: aws, objectStorage: {bucket: b}}}]}", "default:b", ""},
		{"named by place", "{backupLocations: [{velero: {provider: aws, objectStorage: {bucket: a}}}, {velero: {provider: aws, objectStorage: {bucket: b}}}]}", "dpa-1:a dpa-2:b", ""},
		{"in a cloud", "{backupLocations: [{bucket: {name: b}}]}", "", "not velero's"},
		{"nonsense", "{backupLocations: 7}", "", "cannot read DataProtectionApplication dpa"},
	} {
		t.Run(test.name, func(t *testing.T) {
			var spec map[string]any
			if err := yaml.Unmarshal([]byte(test.spec), &spec); err != nil {
				t.Fatal(err)
			}
			dpa := &unstructured.Unstructured{Object: map[string]any{"metadata": map[string]any{"namespace": oadp.Namespace, "name": "dpa"}, "spec": spec}}
			found, err := oadp.Locations(dpa)
			if (err != nil) != (test.err != "") || err != nil && !strings.Contains(err.Error(), test.err) {
				t.Fatalf("error %v, want %q", err, test.err)
			}
			var got []string
			for _, location := range found {
				got = append(got, location.Name+":"+location.Spec.ObjectStorage.Bucket)
				if location.Namespace != oadp.Namespace {
					t.Errorf("%s is in namespace %q", location.Name, location.Namespace)
				}
			}
			if got := strings.Join(got, " "); got != test.want {
				t.Errorf("locations %q, want %q", got, test.want)
			}
		})
	}
}
