package crypto_test

import (
	"context"
	"testing"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/reroot-dev/reroot/node-executor/crypto"
	"github.com/reroot-dev/reroot/node-executor/crypto/plan"
)

// What a cluster is called can be learnt although its API server encrypts that.
func TestLearnReadsEncryptedValues(t *testing.T) {
	e := newEncryptedCluster(t)
	const lost = "/kubernetes.io/secrets/ns/lost"
	config, _, _ := e.write(t, plan.Rules{}, map[string]string{lost: "k8s:enc:aescbc:v1:9:xxxx"})
	got := map[string]string{}
	config.Learn = func(ctx context.Context, cluster clientv3.KV) (plan.Rules, error) {
		for _, key := range []string{encryptedNo, bystanderKey, lost} {
			r, err := cluster.Get(ctx, key)
			if err != nil {
				return plan.Rules{}, err
			}
			got[key] = string(r.Kvs[0].Value)
		}
		return plan.Rules{}, nil
	}
	if _, err := crypto.Prepare(t.Context(), config); err != nil {
		t.Fatal(err)
	}
	if got[encryptedNo] != e.content[encryptedNo] || got[bystanderKey] != e.content[bystanderKey] || got[lost] != "k8s:enc:aescbc:v1:9:xxxx" {
		t.Errorf("got %q", got)
	}
}
