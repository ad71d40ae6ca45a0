package world

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/reroot-dev/reroot/events/seed"
	"github.com/reroot-dev/reroot/events/seed/registry"
	"github.com/reroot-dev/reroot/node-executor/seedimage"
	"github.com/reroot-dev/reroot/test/lab/cluster"
)

// componentImages is how many container images the seed lists.
const componentImages = 3

// publishSeed makes the seed image from the seed's node and pushes it into the lab's registry; it returns its tag.
func publishSeed(ctx context.Context, n *Node, registryHost string) (string, error) {
	images, err := pushImages(registryHost, componentImages)
	if err != nil {
		return "", err
	}
	id := n.Cluster.Identity
	work := filepath.Join(n.Dir, "seed-work")
	if err := os.MkdirAll(work, 0o700); err != nil {
		return "", err
	}
	image := registryHost + "/seeds/lab:" + id.Version
	_, err = seedimage.Create(ctx, seedimage.CreateOptions{
		Image: image, Access: registry.Access{Insecure: true}, Host: n.Host, Stateroot: n.Stateroot,
		Cluster: clusterInfo(id), Containers: images, Dir: work,
	})
	if err != nil {
		return "", fmt.Errorf("cannot make the seed image: %w", err)
	}
	return image, nil
}

// clusterInfo describes a cluster as the label of a seed image does.
func clusterInfo(id cluster.Identity) seed.ClusterInfo {
	return seed.ClusterInfo{
		Version: id.Version, BaseDomain: id.BaseDomain, ClusterName: id.ClusterName,
		NodeIPs: []string{id.NodeIP}, Hostname: id.Hostname, TrustBundle: &seed.TrustBundle{},
	}
}
