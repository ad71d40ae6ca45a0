package site

import (
	"context"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/reroot-dev/reroot/node-executor/crypto/plan"
)

// collectIssued takes the Secrets of cert-manager's certificates, as the lifecycle-agent does: they go along whole, so that
// cert-manager finds them when what asks for them has been restored, and does not have them issued anew; and where the
// seed has the same certificate, that is issued on the site's key. The latter takes a common name to tell it by. A Secret that
// is missing, or holds no pair that is understood, is cert-manager's to fill.
func collectIssued(ctx context.Context, src *source, s *Site) error {
	certificates, err := listed(ctx, src, metav1.NamespaceAll, schema.GroupVersionResource{Group: "cert-manager.io", Version: "v1", Resource: "certificates"})
	if err != nil {
		return err
	}
	seen := map[string]bool{}
	for _, c := range certificates {
		namespace := c.GetNamespace()
		name, _, _ := unstructured.NestedString(c.Object, "spec", "secretName") // the schema lets it be nothing but a string
		if name == "" || seen[namespace+"/"+name] {
			continue
		}
		seen[namespace+"/"+name] = true
		secret, err := src.api.Resource(core("secrets")).Namespace(namespace).Get(ctx, name, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			continue
		}
		if err != nil {
			return fmt.Errorf("Secret %s/%s: %w", namespace, name, err)
		}
		s.carry(secret)
		pair, err := signerOf(secret)
		if err == nil {
			_, err = plan.ReadKeepKey(pair.CommonName, pair.Key)
		}
		if err == nil && pair.CommonName != "" {
			s.Issued = append(s.Issued, pair)
		}
	}
	return nil
}
