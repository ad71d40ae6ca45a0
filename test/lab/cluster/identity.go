package cluster

import (
	"errors"
	"fmt"
	"net"
	"strings"

	"github.com/blang/semver/v4"
	"k8s.io/apimachinery/pkg/util/validation"
)

// Identity is what makes a cluster this one and no other: everything that an
// image-based upgrade has to carry over, and the ports that stand for addresses
// in the lab. All fields are required.
type Identity struct {
	ClusterName string // "target"
	BaseDomain  string // "lab.example"
	InfraID     string // "target-x7k2p"
	ClusterID   string // UUID in ClusterVersion
	Hostname    string // the node's name
	NodeIP      string // in certificates and statuses; nothing listens on it
	Version     string // OKD version in ClusterVersion, "4.17.0"
	Etcd        string // minor of the node's etcd, "3.5" or "3.6"

	// Ports on 127.0.0.1, and in all files that mention them.
	APIPort            int
	EtcdClientPort     int
	EtcdPeerPort       int
	VeleroMetricsPort  int
	VeleroProfilerPort int
}

// Validate reports everything that is wrong with id.
func (id Identity) Validate() error {
	var problems []error
	for _, field := range []struct{ name, value string }{
		{"ClusterName", id.ClusterName},
		{"BaseDomain", id.BaseDomain},
		{"InfraID", id.InfraID},
		{"ClusterID", id.ClusterID},
		{"Hostname", id.Hostname}, // also part of file names
	} {
		for _, problem := range validation.IsDNS1123Subdomain(field.value) {
			problems = append(problems, fmt.Errorf("%s %q: %s", field.name, field.value, problem))
		}
	}
	if _, err := semver.Parse(id.Version); err != nil {
		problems = append(problems, fmt.Errorf("Version %q: %w", id.Version, err))
	}
	if net.ParseIP(id.NodeIP) == nil {
		problems = append(problems, fmt.Errorf("NodeIP %q is not an address", id.NodeIP))
	}
	if id.Etcd != "3.5" && id.Etcd != "3.6" {
		problems = append(problems, fmt.Errorf("Etcd %q is neither 3.5 nor 3.6", id.Etcd))
	}
	used := map[int]string{}
	for _, port := range []struct {
		name  string
		value int
	}{
		{"APIPort", id.APIPort},
		{"EtcdClientPort", id.EtcdClientPort},
		{"EtcdPeerPort", id.EtcdPeerPort},
		{"VeleroMetricsPort", id.VeleroMetricsPort},
		{"VeleroProfilerPort", id.VeleroProfilerPort},
	} {
		switch other := used[port.value]; {
		case port.value < 1 || port.value > 65535:
			problems = append(problems, fmt.Errorf("%s %d is not a port", port.name, port.value))
		case other != "":
			problems = append(problems, fmt.Errorf("%s and %s are both %d", other, port.name, port.value))
		}
		used[port.value] = port.name
	}
	if len(problems) > 0 {
		return fmt.Errorf("cannot use cluster identity: %w", errors.Join(problems...))
	}
	return nil
}

// Domain is the cluster's DNS domain: name and base domain.
func (id Identity) Domain() string { return id.ClusterName + "." + id.BaseDomain }

// APIHost is the external name of the API server.
func (id Identity) APIHost() string { return "api." + id.Domain() }

// InternalAPIHost is the name of the API server for the cluster's own nodes.
func (id Identity) InternalAPIHost() string { return "api-int." + id.Domain() }

// AppsHost is the wildcard under which the ingress serves routes.
func (id Identity) AppsHost() string { return "*.apps." + id.Domain() }

// APIURL is where the API server really listens.
func (id Identity) APIURL() string { return fmt.Sprintf("https://127.0.0.1:%d", id.APIPort) }

// machineNetwork is the /24 (or /64) that the node's address is in.
func (id Identity) machineNetwork() string {
	ip := net.ParseIP(id.NodeIP)
	bits, size := 24, 32
	if ip4 := ip.To4(); ip4 != nil {
		ip = ip4
	} else {
		bits, size = 64, 128
	}
	mask := net.CIDRMask(bits, size)
	return (&net.IPNet{IP: ip.Mask(mask), Mask: mask}).String()
}

// minor is the version's first two parts, "4.17".
func (id Identity) minor() string {
	parts := strings.SplitN(id.Version, ".", 3)
	return strings.Join(parts[:min(2, len(parts))], ".")
}
