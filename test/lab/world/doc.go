// Package world is the lab: everything that an upgrade needs, on one machine, on loopback, below one directory that
// is thrown away afterwards.
//
//	registry, S3       a real OCI registry in this process; a real S3 server as a process of its own
//	seed               a node at rest, with a whole OKD-shaped cluster on it; the seed image is made from it
//	target             a node that runs in the sandbox: its deployment's own systemd, from it the static pods of its
//	                   cluster and the executor, all as in package sandbox's description
//	pipeline           the journal (an embedded JetStream server), the functions, the cluster source: in this process,
//	                   or with [Options].Solo in the executor's, on the node
//
// What stands in for something is named where it is made: the sandbox for the machine, lab-kubelet for the kubelet,
// [World.Operate] for OKD's operators, and the clusters' ports for addresses.
package world
