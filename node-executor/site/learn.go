package site

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"

	clientv3 "go.etcd.io/etcd/client/v3"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer/protobuf"
	"k8s.io/client-go/kubernetes/scheme"

	"github.com/reroot-dev/reroot/events/seed"
)

// etcdPrefix is where OpenShift's API server keeps its objects.
const etcdPrefix = "/kubernetes.io/config.openshift.io/"

// Learn reads what a stopped cluster that was copied from a seed is called: from its etcd, its files below root, and
// the seed's description. Kubeconfig is the same file that the site's was collected by.
func Learn(ctx context.Context, root, kubeconfig string, etcd clientv3.KV, info seed.ClusterInfo) (Names, error) {
	n, err := LearnCluster(ctx, etcd)
	problems := []error{err}
	n.Hostname, n.NodeIPs, n.MachineNetworks = info.Hostname, info.NodeIPs, info.MachineNetworks
	if len(n.NodeIPs) == 0 && info.NodeIP != "" {
		n.NodeIPs = []string{info.NodeIP}
	}
	r, err := os.OpenRoot(root)
	if err != nil {
		return n, fmt.Errorf("cannot learn the seed's names: %w", err)
	}
	defer r.Close()
	if n.Flags, err = staticPodFlags(r); err != nil {
		problems = append(problems, err)
	}
	if config, err := loadKubeconfig(r, kubeconfig); err != nil {
		problems = append(problems, err)
	} else if n.API, err = apiServer(config); err != nil {
		problems = append(problems, fmt.Errorf("kubeconfig %s: %w", kubeconfig, err))
	}
	if err := errors.Join(problems...); err != nil {
		return n, fmt.Errorf("cannot learn the seed's names: %w", err)
	}
	return n, nil
}

// LearnCluster reads what a stopped cluster is called, as far as its etcd says so: nothing of the node.
func LearnCluster(ctx context.Context, etcd clientv3.KV) (Names, error) {
	var n Names
	var problems []error
	read := func(into *string, resource string, path ...string) {
		o, err := customResource(ctx, etcd, resource)
		if err == nil {
			*into, err = text(&unstructured.Unstructured{Object: o}, path...)
		}
		if err != nil {
			problems = append(problems, fmt.Errorf("%s: %w", resource, err))
		}
	}
	read(&n.ClusterID, "clusterversions/version", "spec", "clusterID")
	read(&n.InfraID, "infrastructures/cluster", "status", "infrastructureName")
	read(&n.Domain, "dnses/cluster", "spec", "baseDomain")
	if err := learnProxy(ctx, etcd, &n); err != nil {
		problems = append(problems, fmt.Errorf("proxies/cluster: %w", err))
	}
	var err error
	if n.RegistryBundle, err = LearnRegistryBundle(ctx, etcd); err != nil {
		problems = append(problems, err)
	}
	return n, errors.Join(problems...)
}

// LearnRegistryBundle reads which ConfigMap of openshift-config holds authorities of image registries; "" when none does.
func LearnRegistryBundle(ctx context.Context, etcd clientv3.KV) (string, error) {
	image, err := customResource(ctx, etcd, "images/cluster")
	if err != nil && !errors.Is(err, errMissing) {
		return "", fmt.Errorf("images/cluster: %w", err)
	}
	name, _, _ := unstructured.NestedString(image, "spec", "additionalTrustedCA", "name") // the schema lets it be nothing but a string
	return name, nil
}

// learnProxy reads the seed's proxy and the authorities that it trusts for that.
func learnProxy(ctx context.Context, etcd clientv3.KV, n *Names) error {
	proxy, err := customResource(ctx, etcd, "proxies/cluster")
	if errors.Is(err, errMissing) {
		return nil
	}
	if err != nil {
		return err
	}
	n.Proxy, n.TrustBundles = proxySettings(proxy, "status"), map[string]string{}
	for _, name := range bundleNames(proxy) {
		value, err := stored(ctx, etcd, "/kubernetes.io/configmaps/openshift-config/"+name)
		if errors.Is(err, errMissing) {
			continue
		}
		if err != nil {
			return err
		}
		var cm corev1.ConfigMap
		if err := Decode(value, &cm); err != nil {
			continue // encrypted: bundles that it was joined into are then left to the network operator
		}
		n.TrustBundles[name] = cm.Data[trustedEntry]
	}
	return nil
}

// Decode reads an object of Kubernetes' own as etcd holds it.
func Decode(value []byte, into runtime.Object) error {
	_, _, err := protobuf.NewSerializer(scheme.Scheme, scheme.Scheme).Decode(value, nil, into)
	return err
}

var errMissing = errors.New("does not exist")

// customResource reads an object that etcd holds as JSON, as it does every custom resource.
func customResource(ctx context.Context, etcd clientv3.KV, name string) (map[string]any, error) {
	value, err := stored(ctx, etcd, etcdPrefix+name)
	if err != nil {
		return nil, err
	}
	var o map[string]any
	if err := json.Unmarshal(value, &o); err != nil {
		return nil, err
	}
	return o, nil
}

func stored(ctx context.Context, etcd clientv3.KV, key string) ([]byte, error) {
	resp, err := etcd.Get(ctx, key)
	if err != nil {
		return nil, err
	}
	if len(resp.Kvs) != 1 {
		return nil, errMissing
	}
	return resp.Kvs[0].Value, nil
}
