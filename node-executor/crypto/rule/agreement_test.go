package rule_test

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"hash/fnv"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/reroot-dev/reroot/node-executor/crypto/cryptotest"
	"github.com/reroot-dev/reroot/node-executor/crypto/rule"
	"github.com/reroot-dev/reroot/node-executor/crypto/site"
)

// deployment has the same annotations on itself and on its pods.
func deployment(t testing.TB, annotations map[string]string) string {
	t.Helper()
	return cryptotest.Stored(t, &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: "apiserver", Annotations: annotations},
		Spec:       appsv1.DeploymentSpec{Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Annotations: annotations}}},
	})
}

func sha(text string) string {
	digest := sha256.Sum256([]byte(text))
	return hex.EncodeToString(digest[:])
}

// fnv1 is library-go's digest of what Go's encoder writes for an object's data.
func fnv1(json string) string {
	digest := fnv.New32()
	_, _ = digest.Write([]byte(json + "\n"))
	return base64.URLEncoding.EncodeToString(digest.Sum(nil))
}

func state(objects map[string]string) rule.State {
	s := rule.State{}
	for key, doc := range objects {
		s[site.Ref{Store: site.Etcd, Name: "/kubernetes.io/" + key}] = []byte(doc)
	}
	return s
}

// expiry is what the service CA operator notes of a certificate, under its name of today and under its first one.
func expiry(at time.Time) map[string]string {
	text := at.Format(time.RFC3339)
	return map[string]string{"service.beta.openshift.io/expiry": text, "service.alpha.openshift.io/expiry": text}
}

func TestMend(t *testing.T) {
	ca := cryptotest.Authority(t, "signer", cryptotest.EC(t))
	renewedCA := cryptotest.Authority(t, "signer@2", cryptotest.EC(t))
	old := ca.Leaf(t, "api", cryptotest.EC(t), cryptotest.Names("b.seed", "a.seed", "192.0.2.1"))
	begin := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	renewed := renewedCA.Leaf(t, "api", cryptotest.EC(t), cryptotest.Names("b.target", "c.target", "192.0.2.9"), cryptotest.Valid(begin, begin.AddDate(1, 0, 0)))
	const note = "auth.openshift.io/certificate-"
	notes := map[string]string{
		note + "not-before": cryptotest.Begin.Format(time.RFC3339), note + "not-after": cryptotest.End.Format(time.RFC3339),
		note + "issuer": "signer", note + "hostnames": "192.0.2.1,a.seed,b.seed", "other": "signer",
	}
	renewedNotes := map[string]string{
		note + "not-before": "2026-11-22T12:00:00Z", note + "not-after": "2027-11-22T12:00:00Z",
		note + "issuer": "signer@2", note + "hostnames": "192.0.2.9,b.target,c.target", "other": "signer",
	}
	const dep = "operator.openshift.io/dep-"
	long := (dep + sha("openshift-cluster-csi-drivers.a-driver-with-a-long-name.secret"))[:63]
	for _, test := range []struct {
		name          string
		key           string
		before        string
		others, after map[string]string // what else there is, before and afterwards
		staged, want  string            // the object before and after it is mended
	}{
		{
			name: "certificate annotations", key: "secrets/ns/tls",
			before: secret(t, notes, map[string]string{"tls.crt": old.PEM()}), staged: secret(t, notes, map[string]string{"tls.crt": renewed.PEM()}),
			want: secret(t, renewedNotes, map[string]string{"tls.crt": renewed.PEM()}),
		},
		{
			name: "annotations of another certificate stay", key: "secrets/ns/tls",
			before: secret(t, renewedNotes, map[string]string{"tls.crt": old.PEM()}), staged: secret(t, renewedNotes, map[string]string{"tls.crt": ca.PEM()}),
			want: secret(t, renewedNotes, map[string]string{"tls.crt": ca.PEM()}),
		},
		{
			name: "expiry of a serving certificate", key: "secrets/ns/tls",
			before: secret(t, expiry(cryptotest.End), map[string]string{"tls.crt": old.PEM() + ca.PEM()}),
			staged: secret(t, expiry(cryptotest.End), map[string]string{"tls.crt": renewed.PEM() + renewedCA.PEM()}),
			want:   secret(t, expiry(begin.AddDate(1, 0, 0)), map[string]string{"tls.crt": renewed.PEM() + renewedCA.PEM()}),
		},
		{
			name: "expiry of another certificate stays", key: "secrets/ns/tls",
			before: secret(t, expiry(begin), map[string]string{"tls.crt": old.PEM()}), staged: secret(t, expiry(begin), map[string]string{"tls.crt": renewed.PEM()}),
			want: secret(t, expiry(begin), map[string]string{"tls.crt": renewed.PEM()}),
		},
		{
			name: "annotations without a certificate stay", key: "secrets/ns/tls",
			before: secret(t, notes, nil), staged: secret(t, notes, map[string]string{"tls.crt": "none"}), want: secret(t, notes, map[string]string{"tls.crt": "none"}),
		},
		{
			name: "OLM's digest in the secret itself", key: "secrets/olm/packageserver-service-cert",
			before: secret(t, map[string]string{"olmcahash": sha("old")}, map[string]string{"olmCAKey": "old"}),
			staged: secret(t, map[string]string{"olmcahash": sha("old")}, map[string]string{"olmCAKey": "new"}),
			want:   secret(t, map[string]string{"olmcahash": sha("new")}, map[string]string{"olmCAKey": "new"}),
		},
		{
			name: "OLM's digest in a deployment, one of two secrets", key: "deployments/olm/packageserver",
			others: map[string]string{"secrets/olm/a": secret(t, nil, map[string]string{"olmCAKey": "A"}), "secrets/olm/b": secret(t, nil, map[string]string{"olmCAKey": "B"})},
			after:  map[string]string{"secrets/olm/a": secret(t, nil, map[string]string{"olmCAKey": "A2"}), "secrets/olm/b": secret(t, nil, map[string]string{"olmCAKey": "B2"})},
			before: deployment(t, map[string]string{"olmcahash": sha("B")}), staged: deployment(t, map[string]string{"olmcahash": sha("B")}),
			want: deployment(t, map[string]string{"olmcahash": sha("B2")}),
		},
		{
			name: "OLM's digest of an API service's bundle", key: "secrets/olm/packageserver-service-cert",
			others: map[string]string{"apiregistration.k8s.io/apiservices/v1.packages": `{"spec":{"caBundle":"` + b64("old") + `"}}`},
			after:  map[string]string{"apiregistration.k8s.io/apiservices/v1.packages": `{"spec":{"caBundle":"` + b64("new") + `"}}`},
			before: secret(t, map[string]string{"olmcahash": sha("old")}, nil), staged: secret(t, map[string]string{"olmcahash": sha("old")}, nil),
			want: secret(t, map[string]string{"olmcahash": sha("new")}, nil),
		},
		{
			name: "digest of a mounted ConfigMap", key: "deployments/openshift-apiserver/apiserver",
			others: map[string]string{"configmaps/openshift-apiserver/config": configMap(t, map[string]string{"b": "<&>", "a": "1"})},
			after:  map[string]string{"configmaps/openshift-apiserver/config": configMap(t, map[string]string{"b": "<&>", "a": "2"})},
			before: deployment(t, map[string]string{dep + "openshift-apiserver.config.configmap": fnv1(`{"a":"1","b":"\u003c\u0026\u003e"}`)}),
			staged: deployment(t, map[string]string{dep + "openshift-apiserver.config.configmap": fnv1(`{"a":"1","b":"\u003c\u0026\u003e"}`)}),
			want:   deployment(t, map[string]string{dep + "openshift-apiserver.config.configmap": fnv1(`{"a":"2","b":"\u003c\u0026\u003e"}`)}),
		},
		{
			name: "digest of a mounted Secret with a long name", key: "deployments/openshift-cluster-csi-drivers/controller",
			others: map[string]string{"secrets/openshift-cluster-csi-drivers/a-driver-with-a-long-name": secret(t, nil, map[string]string{"k": "1"})},
			after:  map[string]string{"secrets/openshift-cluster-csi-drivers/a-driver-with-a-long-name": secret(t, nil, map[string]string{"k": "2"})},
			before: deployment(t, map[string]string{long: fnv1(`{"k":"MQ=="}`)}), staged: deployment(t, map[string]string{long: fnv1(`{"k":"MQ=="}`)}),
			want: deployment(t, map[string]string{long: fnv1(`{"k":"Mg=="}`)}),
		},
		{
			name: "digest by a formula that is not known", key: "deployments/ns/a",
			others: map[string]string{"configmaps/ns/config": configMap(t, map[string]string{"a": "1"})},
			after:  map[string]string{"configmaps/ns/config": configMap(t, map[string]string{"a": "2"})},
			before: deployment(t, map[string]string{dep + "ns.config.configmap": "AAAAAA=="}), staged: deployment(t, map[string]string{dep + "ns.config.configmap": "AAAAAA=="}),
			want: deployment(t, map[string]string{dep + "ns.config.configmap": "AAAAAA=="}),
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			before, after := state(test.others), state(test.after)
			ref := site.Ref{Store: site.Etcd, Name: "/kubernetes.io/" + test.key}
			before[ref], after[ref] = []byte(test.before), []byte(test.staged)
			wrong, err := rule.Disagreements(before, after)
			if err != nil {
				t.Fatal(err)
			}
			for _, d := range wrong {
				if d.Site != ref {
					t.Errorf("%s disagrees: %v", d.Site, d)
				}
			}
			got, err := rule.Mend(after[ref], wrong)
			if err != nil {
				t.Fatal(err)
			}
			if string(got) != test.want {
				t.Errorf("got\n%q\nwant\n%q", got, test.want)
			}
			after[ref] = got
			if left, err := rule.Disagreements(before, after); err != nil || len(left) != 0 {
				t.Errorf("still wrong: %v, %v", left, err)
			}
		})
	}
}
