package cluster

import (
	"maps"
	"strings"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
)

// place splits "namespace/name" or "namespace/name/key".
func place(s, defaultKey string) (meta metav1.ObjectMeta, key string) {
	parts := strings.SplitN(s, "/", 3)
	key = defaultKey
	if len(parts) == 3 {
		key = parts[2]
	}
	return metav1.ObjectMeta{Namespace: parts[0], Name: parts[1]}, key
}

// cryptoObjects are the Secrets and ConfigMaps that OKD's operators keep the
// cluster's cryptography in: the same content as the node's files, and more.
func cryptoObjects(id Identity, m *material) ([]runtime.Object, error) {
	objects, err := tlsSecrets(m)
	if err != nil {
		return nil, err
	}
	for _, b := range m.inventory.bundles {
		for _, at := range b.configMaps {
			meta, key := place(at, "ca-bundle.crt")
			objects = append(objects, &corev1.ConfigMap{ObjectMeta: meta, Data: map[string]string{key: string(m.bundlePEM(b.members))}})
		}
	}
	for _, more := range []func(Identity, *material) ([]runtime.Object, error){etcdSecret, tokenKeyObjects, kubeconfigObjects} {
		found, err := more(id, m)
		if err != nil {
			return nil, err
		}
		objects = append(objects, found...)
	}
	return append(objects, webhook(m)), nil
}

func tlsSecrets(m *material) ([]runtime.Object, error) {
	var objects []runtime.Object
	add := func(name string, places []string, extra map[string]string) error {
		pair := m.pairs[name]
		key, err := pair.KeyPEM()
		if err != nil {
			return err
		}
		said := annotations(pair)
		maps.Copy(said, extra)
		for _, at := range places {
			meta, _ := place(at, "")
			meta.Annotations = said
			objects = append(objects, &corev1.Secret{ObjectMeta: meta, Type: corev1.SecretTypeTLS, Data: map[string][]byte{
				corev1.TLSCertKey: certificatePEM(pair), corev1.TLSPrivateKeyKey: key,
			}})
		}
		return nil
	}
	for _, a := range m.inventory.authorities {
		if err := add(a.name, a.secrets, nil); err != nil {
			return nil, err
		}
	}
	for _, c := range m.inventory.certificates {
		var extra map[string]string
		if len(c.hosts) > 0 {
			extra = map[string]string{"auth.openshift.io/certificate-hostnames": strings.Join(c.hosts, ",")}
		}
		if err := add(c.name, c.secrets, extra); err != nil {
			return nil, err
		}
	}
	return objects, nil
}

// etcdSecret is the one Secret that etcd's pods are given all certificates by; the
// node's name is in its keys.
func etcdSecret(id Identity, m *material) ([]runtime.Object, error) {
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "openshift-etcd", Name: "etcd-all-certs"}, Data: map[string][]byte{}}
	for _, kind := range []string{"peer", "serving", "serving-metrics"} {
		pair := m.pairs["etcd-"+kind]
		key, err := pair.KeyPEM()
		if err != nil {
			return nil, err
		}
		name := "etcd-" + kind + "-" + id.Hostname
		secret.Data[name+".crt"], secret.Data[name+".key"] = pair.ChainPEM(), key
	}
	return []runtime.Object{secret}, nil
}

func tokenKeyObjects(_ Identity, m *material) ([]runtime.Object, error) {
	legacy, err := tokenKeys(m.legacyTokens)
	if err != nil {
		return nil, err
	}
	bound, err := tokenKeys(m.boundTokens)
	if err != nil {
		return nil, err
	}
	var objects []runtime.Object
	secret := func(at string, keys keyPair) {
		meta, _ := place(at, "")
		objects = append(objects, &corev1.Secret{ObjectMeta: meta, Data: map[string][]byte{"service-account.key": keys.private, "service-account.pub": keys.public}})
	}
	public := func(at string, keys keyPair) {
		meta, _ := place(at, "")
		objects = append(objects, &corev1.ConfigMap{ObjectMeta: meta, Data: map[string]string{"service-account-001.pub": string(keys.public)}})
	}
	secret("openshift-kube-controller-manager/service-account-private-key", legacy)
	secret("openshift-kube-controller-manager/service-account-private-key-3", legacy)
	secret("openshift-kube-apiserver/bound-service-account-signing-key", bound)
	secret("openshift-kube-apiserver-operator/next-bound-service-account-signing-key", bound)
	public("openshift-config-managed/sa-token-signing-certs", legacy)
	public("openshift-kube-apiserver/sa-token-signing-certs-3", legacy)
	public("openshift-kube-apiserver/bound-sa-token-signing-certs", bound)
	return objects, nil
}

func kubeconfigObjects(id Identity, m *material) ([]runtime.Object, error) {
	var objects []runtime.Object
	secrets := map[string]*corev1.Secret{}
	for _, k := range kubeconfigs(id) {
		if k.object == "" {
			continue
		}
		data, err := k.render(id, m)
		if err != nil {
			return nil, err
		}
		meta, key := place(k.object, "kubeconfig")
		if !k.secret {
			objects = append(objects, &corev1.ConfigMap{ObjectMeta: meta, Data: map[string]string{key: string(data)}})
			continue
		}
		name := meta.Namespace + "/" + meta.Name
		if secrets[name] == nil {
			secrets[name] = &corev1.Secret{ObjectMeta: meta, Data: map[string][]byte{}}
			objects = append(objects, secrets[name])
		}
		secrets[name].Data[key] = data
	}
	return objects, nil
}

// webhook is one of the machine API's, for a kind that the lab does not have; it
// is here for its CA bundle.
func webhook(m *material) runtime.Object {
	ignore, none := admissionv1.Ignore, admissionv1.SideEffectClassNone
	path := "/validate-machine-openshift-io-v1-controlplanemachineset"
	return &admissionv1.ValidatingWebhookConfiguration{
		ObjectMeta: metav1.ObjectMeta{Name: "controlplanemachineset.machine.openshift.io"},
		Webhooks: []admissionv1.ValidatingWebhook{{
			Name: "controlplanemachineset.machine.openshift.io",
			ClientConfig: admissionv1.WebhookClientConfig{
				Service:  &admissionv1.ServiceReference{Namespace: "openshift-machine-api", Name: "control-plane-machine-set-operator", Path: &path},
				CABundle: m.pairs["service-ca"].CertPEM(),
			},
			Rules: []admissionv1.RuleWithOperations{{
				Operations: []admissionv1.OperationType{admissionv1.Create, admissionv1.Update},
				Rule:       admissionv1.Rule{APIGroups: []string{"machine.openshift.io"}, APIVersions: []string{"v1"}, Resources: []string{"controlplanemachinesets"}},
			}},
			FailurePolicy: &ignore, SideEffects: &none, AdmissionReviewVersions: []string{"v1"},
		}},
	}
}

// A service account with a token in a Secret, of the kind that every one had
// before OKD 4.16.
const (
	tokenNamespace = "openshift-monitoring"
	tokenAccount   = "prometheus-k8s"
	tokenSecret    = "prometheus-k8s-token-w7tq4"
)

func tokenServiceAccount() *corev1.ServiceAccount {
	return &corev1.ServiceAccount{
		ObjectMeta: metav1.ObjectMeta{Namespace: tokenNamespace, Name: tokenAccount},
		Secrets:    []corev1.ObjectReference{{Name: tokenSecret}},
	}
}

// tokenObject is the Secret with the token of the service account with this uid.
func tokenObject(m *material, uid types.UID) (*corev1.Secret, error) {
	token, err := m.legacyToken(tokenNamespace, tokenSecret, tokenAccount, string(uid))
	if err != nil {
		return nil, err
	}
	return &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: tokenNamespace, Name: tokenSecret, Annotations: map[string]string{
			corev1.ServiceAccountNameKey: tokenAccount, corev1.ServiceAccountUIDKey: string(uid),
		}},
		Type: corev1.SecretTypeServiceAccountToken,
		Data: map[string][]byte{
			corev1.ServiceAccountTokenKey:     []byte(token),
			corev1.ServiceAccountRootCAKey:    m.bundlePEM(podAuthorities),
			corev1.ServiceAccountNamespaceKey: []byte(tokenNamespace),
		},
	}, nil
}
