// Package cluster makes the lab's single-node OKD clusters: the files that such
// a node has below /etc and /var, and the objects that are in its etcd.
//
// [Provision] tells the story. It generates the cluster's cryptography (package
// pki, by the tables of inventory.go), writes it where OKD's nodes have it,
// together with kubeconfigs and static pod manifests, starts that node's etcd and
// kube-apiserver from exactly these files ([Start]), applies OKD's real custom
// resource definitions and the objects of a healthy cluster, and stops both
// again. What stays is a pair of directories that become a node's /etc and /var:
// whatever runs static pods there then serves this cluster, and there is no state
// of it anywhere else, except the administrator's kubeconfig, which no node has.
//
// What is real: etcd, the API server, the controller manager and Velero (the
// manifests name them, package build makes them), every certificate, token and
// kubeconfig, the custom resource definitions of OKD, OLM and Velero, OKD's etcd
// prefix, names and paths. What is not:
//
//   - no operator runs, except a stand-in for OADP's (package oadp), without which
//     Velero does not start: it waits for a place to keep backups. The others'
//     custom resources have the statuses of a healthy cluster ([ReportHealthy]);
//   - no kubelet and no scheduler: pods stay pending, and the controller manager
//     runs without the controller that would miss the node's heartbeats;
//   - the DataProtectionApplication of OADP is defined by a stand-in without a
//     schema (crds/), because no Go module carries the real one;
//   - everything listens on 127.0.0.1, on ports of its own, and clients name the
//     server they mean by tls-server-name, where a cluster has DNS names and
//     addresses.
package cluster
