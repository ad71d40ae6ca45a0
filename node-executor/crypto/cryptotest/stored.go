package cryptotest

import (
	"bytes"
	"testing"

	routev1 "github.com/openshift/api/route/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer/protobuf"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	"k8s.io/client-go/kubernetes/scheme"
)

// kinds are the types of the objects that are stored as protobuf: Kubernetes' own, and Routes.
var kinds = func() *runtime.Scheme {
	s := runtime.NewScheme()
	utilruntime.Must(scheme.AddToScheme(s))
	utilruntime.Must(routev1.Install(s))
	return s
}()

// Stored encodes an object as the API server stores it. The encoding is deterministic: two objects that differ in a field
// differ in its bytes and the lengths around it only.
func Stored(t testing.TB, object runtime.Object) string {
	t.Helper()
	known, _, err := kinds.ObjectKinds(object)
	if err != nil {
		t.Fatal(err)
	}
	object.GetObjectKind().SetGroupVersionKind(known[0])
	var out bytes.Buffer
	if err := protobuf.NewSerializer(kinds, kinds).Encode(object, &out); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

// Decoded reads what Stored wrote.
func Decoded[T runtime.Object](t testing.TB, value string, into T) T {
	t.Helper()
	if _, _, err := protobuf.NewSerializer(kinds, kinds).Decode([]byte(value), nil, into); err != nil {
		t.Fatal(err)
	}
	return into
}
