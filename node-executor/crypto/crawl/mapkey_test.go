package crawl_test

import (
	"bytes"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/reroot-dev/reroot/node-executor/crypto/crawl"
	"github.com/reroot-dev/reroot/node-executor/crypto/cryptotest"
	"github.com/reroot-dev/reroot/node-executor/crypto/splice"
)

// The etcd operator keys its certificates by node: an entry that kept the old name would be missing under the new one.
func TestMapKeysAreText(t *testing.T) {
	made := func(node string) string {
		return cryptotest.Stored(t, &corev1.Secret{
			ObjectMeta: metav1.ObjectMeta{Name: "etcd-all-certs", Labels: map[string]string{"node/" + node: "x"}},
			Data:       map[string][]byte{"etcd-peer-" + node + ".crt": []byte("of " + node), "other": {1}},
		})
	}
	old, want := made("sno"), made("another-node")
	edits, err := crawl.Rewrite([]byte(old), crawl.Handler{Text: func(_ string, text []byte) []splice.Edit {
		if i := bytes.Index(text, []byte("sno")); i >= 0 {
			return []splice.Edit{{Start: i, End: i + len("sno"), Text: []byte("another-node")}}
		}
		return nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	got, err := splice.Apply([]byte(old), edits)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != want {
		t.Errorf("got\n%q\nwant\n%q", got, want)
	}
}
