package staticpod_test

import (
	"strings"
	"testing"

	"github.com/reroot-dev/reroot/test/lab/staticpod"
)

func TestParseManifest(t *testing.T) {
	const pod = "apiVersion: v1\nkind: Pod\nmetadata: {name: etcd}\nspec:\n"
	tests := []struct {
		name     string
		manifest string
		want     []string // parts of the error, none for an accepted manifest
	}{
		{"a static pod", pod + "  hostNetwork: true\n  containers: [{name: etcd, image: lab.reroot.dev/etcd:3.5}]", nil},
		{"json", `{"apiVersion":"v1","kind":"Pod","metadata":{"name":"a"},"spec":{"containers":[{"name":"a","image":"a"}]}}`, nil},
		{"restart policy Always", pod + "  restartPolicy: Always\n  containers: [{name: a, image: a}]", nil},
		{"empty", "", []string{"not a v1 Pod", `"" is not a pod name`, "no containers"}},
		{"not YAML", ":", []string{"cannot parse the manifest"}},
		{"misspelt field", pod + "  container: []", []string{`unknown field "container"`}},
		{"another kind", "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: a}", []string{"it is a apps/v1 Deployment"}},
		{"a name that leaves the log directory", strings.Replace(pod, "etcd", "../etcd", 1) + "  containers: [{name: a, image: a}]", []string{`"../etcd" is not a pod name`}},
		{"all problems at once", pod + "  restartPolicy: Never\n  initContainers: [{name: i, image: i}]\n  containers: [{name: a, image: a@sha256:00}]",
			[]string{"init containers are not run", "restart policy Never", `container a: cannot name the executable of image "a@sha256:00"`}},
		{"environment from the API", pod + "  containers:\n  - {name: a, image: a, envFrom: [{configMapRef: {name: c}}], env: [{name: IP, valueFrom: {fieldRef: {fieldPath: status.podIP}}}]}",
			[]string{"envFrom has no API server", "the value of IP has no API server"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got, err := staticpod.ParseManifest([]byte(test.manifest))
			if len(test.want) == 0 && (err != nil || len(got.Spec.Containers) != 1) {
				t.Fatalf("got %v, error %v, want a pod", got, err)
			}
			for _, want := range test.want {
				if err == nil || !strings.Contains(err.Error(), want) {
					t.Errorf("error %v, want %q in it", err, want)
				}
			}
		})
	}
}

func TestImageFile(t *testing.T) {
	tests := []struct{ image, want string }{
		{"lab.reroot.dev/etcd:3.5", "etcd-3.5"},
		{"localhost:5000/lab/kube-apiserver:v1.37.2", "kube-apiserver-v1.37.2"},
		{"s3", "s3"},
		{"lab.reroot.dev/etcd@sha256:0123", ""},
		{"", ""},
		{"/", ""},
		{"lab.reroot.dev/..", ""},
	}
	for _, test := range tests {
		t.Run(test.image, func(t *testing.T) {
			got, err := staticpod.ImageFile(test.image)
			if got != test.want || (err == nil) != (test.want != "") {
				t.Errorf("got %q, error %v, want %q", got, err, test.want)
			}
		})
	}
}
