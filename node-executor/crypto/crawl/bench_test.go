package crawl_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/reroot-dev/reroot/node-executor/crypto/crawl"
	"github.com/reroot-dev/reroot/node-executor/crypto/cryptotest"
	"github.com/reroot-dev/reroot/node-executor/crypto/splice"
)

// prose is text without material: words, YAML and some long identifiers.
func prose(size int) string {
	var out strings.Builder
	for n := 0; out.Len() < size; n++ {
		fmt.Fprintf(&out, "- name: element-%d\n  image: registry.example.com/okd/scos-content@sha256:%064x\n  description: >-\n    Says how many of the things that are counted there are, in /var/lib/things/%d, which is not --very-much=%d.\n", n, n*n+7, n, n)
	}
	return out.String()
}

func pod(n int) *corev1.Pod {
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{
		Name: fmt.Sprintf("pod-%d", n), Namespace: "openshift-things", UID: "0a1b2c3d-0000-0000-0000-000000000000", ResourceVersion: "1",
		Labels: map[string]string{}, Annotations: map[string]string{"k8s.ovn.org/pod-networks": `{"default":{"ip_addresses":["10.128.0.7/23"],"mac_address":"0a:58:0a:80:00:07"}}`},
		ManagedFields: []metav1.ManagedFieldsEntry{{Manager: "kubelet", FieldsV1: &metav1.FieldsV1{Raw: []byte("[" + strings.Repeat(`{"f:status":{"f:conditions":{".":{},"f:type":{}}}},`, 20) + "{}]")}}},
	}}
	for i := range 12 {
		p.Labels[fmt.Sprintf("app.kubernetes.io/label-%d", i)] = fmt.Sprintf("value-%d", i)
	}
	for i := range 4 {
		c := corev1.Container{Name: fmt.Sprintf("container-%d", i), Image: fmt.Sprintf("quay.io/okd/scos-content@sha256:%064x", i), Args: []string{"--config=/etc/config/config.yaml", "--v=2", "--secure-listen-address=:8443"}}
		c.Resources.Requests = corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("10m"), corev1.ResourceMemory: resource.MustParse("50Mi")}
		for v := range 12 {
			c.Env = append(c.Env, corev1.EnvVar{Name: fmt.Sprintf("RELATED_IMAGE_%d", v), Value: fmt.Sprintf("quay.io/okd/scos-content@sha256:%064x", v)})
			c.VolumeMounts = append(c.VolumeMounts, corev1.VolumeMount{Name: fmt.Sprintf("volume-%d", v), MountPath: fmt.Sprintf("/etc/kubernetes/static-pod-resources/secrets/secret-%d", v)})
		}
		p.Spec.Containers = append(p.Spec.Containers, c)
		p.Status.ContainerStatuses = append(p.Status.ContainerStatuses, corev1.ContainerStatus{Name: c.Name, Image: c.Image, ImageID: c.Image, ContainerID: fmt.Sprintf("cri-o://%064x", n)})
	}
	return p
}

// Stored objects of the kinds that most bytes of a cluster are.
func BenchmarkRewrite(b *testing.B) {
	key := cryptotest.RSA(b, 0)
	authority := cryptotest.Authority(b, "root", key)
	bundle := strings.Repeat("# A public authority\n"+authority.PEM(), 128)
	inJSON, err := json.Marshal(pod(1))
	if err != nil {
		b.Fatal(err)
	}
	docs := map[string][]string{
		"pods":    {cryptotest.Stored(b, pod(1)), cryptotest.Stored(b, pod(2))},
		"JSON":    {strings.Repeat(string(inJSON), 4)},
		"prose":   {cryptotest.Stored(b, &corev1.ConfigMap{Data: map[string]string{"config.yaml": prose(64 << 10), "other.json": string(inJSON)}})},
		"YAML":    {prose(256 << 10)},
		"bundles": {cryptotest.Stored(b, &corev1.ConfigMap{Data: map[string]string{"ca-bundle.crt": bundle}})},
		"secrets": {cryptotest.Stored(b, &corev1.Secret{Data: map[string][]byte{"tls.crt": []byte(authority.PEM()), "tls.key": []byte(cryptotest.KeyPEM(key))}})},
	}
	handler := crawl.Handler{
		Leaf:    func(crawl.Leaf) ([]byte, error) { return nil, nil },
		Field:   func(string, []byte) ([]byte, bool) { return nil, false },
		Text:    func(string, []byte) []splice.Edit { return nil },
		Layer:   func(string, []byte) {},
		Finding: func(f crawl.Finding) { b.Errorf("found %v", f) },
	}
	for _, name := range []string{"pods", "JSON", "prose", "YAML", "bundles", "secrets"} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				size := 0
				for _, doc := range docs[name] {
					if _, err := crawl.Rewrite([]byte(doc), handler); err != nil {
						b.Fatal(err)
					}
					size += len(doc)
				}
				b.SetBytes(int64(size))
			}
		})
	}
}
