package world

import (
	"github.com/google/uuid"

	"github.com/reroot-dev/reroot/test/lab/cluster"
)

// Versions of the two clusters: an upgrade over one minor, with etcd's changing too.
const (
	TargetVersion = "4.17.0"
	SeedVersion   = "4.18.0"
)

// identity is that of a cluster of the lab: everything in it differs from cluster to cluster, ports included.
func identity(name, version, etcd, nodeIP string) (cluster.Identity, error) {
	ports, err := freePorts(5)
	if err != nil {
		return cluster.Identity{}, err
	}
	return cluster.Identity{
		ClusterName: name, BaseDomain: "lab.example", InfraID: name + "-x7k2p", ClusterID: uuid.NewString(),
		Hostname: name + "-node", NodeIP: nodeIP, Version: version, Etcd: etcd,
		APIPort: ports[0], EtcdClientPort: ports[1], EtcdPeerPort: ports[2], VeleroMetricsPort: ports[3], VeleroProfilerPort: ports[4],
	}, nil
}
