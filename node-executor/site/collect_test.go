package site_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"path/filepath"
	"slices"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"

	"github.com/reroot-dev/reroot/node-executor/crypto/cryptotest/fixture"
	"github.com/reroot-dev/reroot/node-executor/crypto/plan"
	"github.com/reroot-dev/reroot/node-executor/site"
	"github.com/reroot-dev/reroot/test/lab/cluster"
)

var (
	definitions  = schema.GroupVersionResource{Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"}
	certificates = schema.GroupVersionResource{Group: "cert-manager.io", Version: "v1", Resource: "certificates"}
	secrets      = schema.GroupVersionResource{Version: "v1", Resource: "secrets"}
)

type object = map[string]any

// apiServer is a lab cluster's real one, and how its site is collected.
func apiServer(t *testing.T) (dynamic.Interface, site.Options) {
	t.Helper()
	programs := fixture.Programs(t)
	c := fixture.Lab(t, programs, "edge", "3.5")
	plane, err := cluster.Start(t.Context(), cluster.StartOptions{Etc: c.Etc, Var: c.Var, Programs: programs, Identity: c.Identity})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := plane.Stop(); err != nil {
			t.Error(err)
		}
	})
	api, err := dynamic.NewForConfig(plane.Config)
	if err != nil {
		t.Fatal(err)
	}
	root := filepath.Dir(c.Etc)
	kubeconfig, err := filepath.Rel(root, c.AdminKubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	return api, site.Options{Root: root, Kubeconfig: "/" + kubeconfig}
}

func create(t *testing.T, client dynamic.ResourceInterface, o object) {
	t.Helper()
	if _, err := client.Create(t.Context(), &unstructured.Unstructured{Object: o}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
}

// defineCertificates has the API server serve cert-manager's certificates, of which it checks nothing.
func defineCertificates(t *testing.T, api dynamic.Interface) {
	t.Helper()
	open := object{"type": "object", "x-kubernetes-preserve-unknown-fields": true}
	create(t, api.Resource(definitions), object{
		"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": object{"name": "certificates.cert-manager.io"},
		"spec": object{
			"group": "cert-manager.io", "scope": "Namespaced",
			"names":    object{"plural": "certificates", "singular": "certificate", "kind": "Certificate", "listKind": "CertificateList"},
			"versions": []any{object{"name": "v1", "served": true, "storage": true, "schema": object{"openAPIV3Schema": open}}},
		},
	})
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		_, err := api.Resource(certificates).List(t.Context(), metav1.ListOptions{})
		if err == nil {
			return
		}
		if !apierrors.IsNotFound(err) {
			t.Fatal(err)
		}
		select {
		case <-t.Context().Done():
			t.Fatal("certificates are not served")
		case <-tick.C:
		}
	}
}

// The pairs of cert-manager's certificates go along, as the lifecycle-agent takes them.
func TestCollectIssued(t *testing.T) {
	api, options := apiServer(t)
	before, err := site.Collect(t.Context(), options)
	if err != nil {
		t.Fatal(err)
	}
	if len(before.Issued) != 0 || len(before.Signers) != 4 {
		t.Errorf("a cluster without cert-manager: %d signers, %d issued", len(before.Signers), len(before.Issued))
	}

	defineCertificates(t, api)
	web, webKey := authority(t, "web.edge.lab.example")
	unnamed, unnamedKey := authority(t, "")
	secret := func(name string, cert, key []byte) {
		encode := base64.StdEncoding.EncodeToString
		create(t, api.Resource(secrets).Namespace("default"), object{
			"apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls",
			"metadata": object{"name": name, "namespace": "default", "annotations": object{"cert-manager.io/certificate-name": name}},
			"data":     object{"tls.crt": encode(cert), "tls.key": encode(key)},
		})
	}
	secret("web", web, webKey)
	secret("unnamed", unnamed, unnamedKey)
	secret("waiting", nil, nil)
	secret("odd", web, []byte("no key"))
	secret("others", web, webKey)
	for name, of := range map[string]string{"a": "web", "b": "web", "c": "unnamed", "d": "waiting", "e": "odd", "f": "missing"} {
		create(t, api.Resource(certificates).Namespace("default"), object{
			"apiVersion": "cert-manager.io/v1", "kind": "Certificate", "metadata": object{"name": name, "namespace": "default"}, "spec": object{"secretName": of},
		})
	}
	s, err := site.Collect(t.Context(), options)
	if err != nil {
		t.Fatal(err)
	}
	if len(s.Issued) != 1 || s.Issued[0].CommonName != "web.edge.lab.example" || s.Issued[0].Secret != "default/web" || !bytes.Equal(s.Issued[0].Key, webKey) {
		names := []string{}
		for _, i := range s.Issued {
			names = append(names, i.CommonName+" "+i.Secret)
		}
		t.Errorf("issued: %q", names)
	}
	var carried []string
	for _, o := range s.Objects {
		carried = append(carried, o.GetKind()+" "+o.GetName())
		if text, err := json.Marshal(o.Object["metadata"]); err != nil || bytes.Contains(text, []byte("resourceVersion")) {
			t.Errorf("carried with %s, %v", text, err)
		}
	}
	slices.Sort(carried)
	if want := []string{"Secret odd", "Secret unnamed", "Secret waiting", "Secret web"}; !slices.Equal(carried, want) {
		t.Errorf("carried %q, want %q", carried, want)
	}
	rules, err := s.Rules(seedNames(), policies())
	if err != nil {
		t.Fatal(err)
	}
	if kept := rules.KeepKeys[len(rules.KeepKeys)-1]; len(rules.KeepKeys) != 5 || !kept.IfThere || kept.Site != "/secrets/default/web" || kept.CommonName != "web.edge.lab.example" {
		t.Errorf("%d keys are kept, the last is of %q at %q, if there: %t", len(rules.KeepKeys), kept.CommonName, kept.Site, kept.IfThere)
	}
	if slices.ContainsFunc(rules.KeepKeys[:4], func(k plan.KeepKey) bool { return k.IfThere }) {
		t.Error("an authority of the cluster need not be there")
	}
}
