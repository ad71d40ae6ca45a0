package site

import (
	"context"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/reroot-dev/reroot/node-executor/crypto/rule"
)

// trustedEntry is the entry of a ConfigMap that holds a bundle of authorities, PEM.
const trustedEntry = "ca-bundle.crt"

// collectProxy takes how the cluster reaches the outside, and the authorities that it trusts for that.
func collectProxy(ctx context.Context, src *source, s *Site) error {
	o, err := src.api.Resource(config("proxies")).Get(ctx, "cluster", metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return err
	}
	s.Proxy, s.Names.Proxy = proxySettings(o.Object, "spec"), proxySettings(o.Object, "status")
	s.Names.TrustBundles = map[string]string{}
	for _, name := range bundleNames(o.Object) {
		cm, err := src.api.Resource(core("configmaps")).Namespace("openshift-config").Get(ctx, name, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			continue
		}
		if err != nil {
			return fmt.Errorf("ConfigMap openshift-config/%s: %w", name, err)
		}
		bundle, err := text(cm, "data", trustedEntry)
		if err != nil {
			return fmt.Errorf("ConfigMap openshift-config/%s: %w", name, err)
		}
		s.Names.TrustBundles[name] = bundle
	}
	return nil
}

// proxySettings reads one half, spec or status, of the cluster's Proxy. What is not set is empty.
func proxySettings(proxy map[string]any, of string) rule.ProxySettings {
	read := func(name string) string {
		v, _, _ := unstructured.NestedString(proxy, of, name) // the schema lets it be nothing but a string
		return v
	}
	return rule.ProxySettings{HTTP: read("httpProxy"), HTTPS: read("httpsProxy"), No: read("noProxy")}
}

// bundleNames are the ConfigMaps of openshift-config that may hold authorities.
func bundleNames(proxy map[string]any) []string {
	names := []string{rule.UserBundle}
	if name, _, _ := unstructured.NestedString(proxy, "spec", "trustedCA", "name"); name != "" && name != rule.UserBundle {
		names = append(names, name)
	}
	return names
}
