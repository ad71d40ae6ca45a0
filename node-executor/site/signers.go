package site

import (
	"context"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// preserved are the authorities that clients outside of the cluster trust: the API server's by the users' kubeconfigs,
// by the node's own and by pods; the ingress's by browsers. The list is the lifecycle-agent's, which also keeps the keys of
// cert-manager's certificates, see collectIssued.
var preserved = []struct{ namespace, name string }{
	{"openshift-kube-apiserver-operator", "loadbalancer-serving-signer"},
	{"openshift-kube-apiserver-operator", "localhost-serving-signer"},
	{"openshift-kube-apiserver-operator", "service-network-serving-signer"},
	{"openshift-ingress-operator", "router-ca"},
}

// collectSigners takes the preserved authorities' keys, and the certificate of the one that signed the administrator's
// kubeconfig: its key was thrown away when the cluster was installed.
func collectSigners(ctx context.Context, src *source, s *Site) error {
	var problems []error
	for _, p := range preserved {
		signer, err := readSigner(ctx, src, p.namespace, p.name)
		if err != nil {
			problems = append(problems, fmt.Errorf("Secret %s/%s: %w", p.namespace, p.name, err))
			continue
		}
		s.Signers = append(s.Signers, signer)
	}
	cm, err := src.api.Resource(core("configmaps")).Namespace("openshift-config").Get(ctx, "admin-kubeconfig-client-ca", metav1.GetOptions{})
	if err == nil {
		var bundle string
		if bundle, err = text(cm, "data", "ca-bundle.crt"); err == nil {
			s.ClientCA = []byte(bundle)
		}
	}
	if err != nil {
		problems = append(problems, fmt.Errorf("ConfigMap openshift-config/admin-kubeconfig-client-ca: %w", err))
	}
	return errors.Join(problems...)
}

func readSigner(ctx context.Context, src *source, namespace, name string) (Signer, error) {
	secret, err := src.api.Resource(core("secrets")).Namespace(namespace).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return Signer{}, err
	}
	return signerOf(secret)
}

// signerOf reads the certificate and key of a TLS Secret.
func signerOf(secret *unstructured.Unstructured) (Signer, error) {
	certPEM, err := secretValue(secret, "tls.crt")
	if err != nil {
		return Signer{}, err
	}
	keyPEM, err := secretValue(secret, "tls.key")
	if err != nil {
		return Signer{}, err
	}
	block, _ := pem.Decode(certPEM)
	if block == nil {
		return Signer{}, errors.New("tls.crt holds no certificate")
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return Signer{}, fmt.Errorf("tls.crt: %w", err)
	}
	return Signer{
		CommonName: cert.Subject.CommonName, Secret: secret.GetNamespace() + "/" + secret.GetName(), Key: keyPEM, SubjectKeyID: cert.SubjectKeyId,
	}, nil
}

// secretValue is the decoded value of a Secret's key. Errors do not quote it.
func secretValue(secret *unstructured.Unstructured, key string) ([]byte, error) {
	encoded, err := text(secret, "data", key)
	if err != nil {
		return nil, fmt.Errorf("it has no %s", key)
	}
	value, err := base64.StdEncoding.DecodeString(encoded)
	if err != nil {
		return nil, fmt.Errorf("its %s is not base64", key)
	}
	return value, nil
}
