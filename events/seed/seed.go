// Package seed describes a seed image: an OCI image, made from a reference cluster, from which a node gets a whole new
// root. Its labels say what is inside before anything is downloaded. The package is pure; who reads a registry hands the
// labels in.
//
// The format is version 4 of the lifecycle-agent's: one layer on an empty base with, at its top level,
//
//	containers.list         pull specs of the reference cluster's container images, one a line
//	etc.deletions           files removed from /etc, as absolute paths, one a line
//	etc.tgz                 files added to or changed in /etc, below etc/
//	manifest.json           [ClusterInfo], the same as in the label
//	mco-currentconfig.json  the MachineConfig that the reference node ran: kernel arguments and FIPS mode
//	ostree-<id>.origin      origin file of the deployment that the reference node ran; <id> is COMMIT.SERIAL
//	ostree.tgz              its ostree repository, below ./
//	rpm-ostree.json         its deployments, one of them marked booted
//	var.tgz                 its /var, below var/
package seed

import (
	"encoding/json"
	"fmt"
	"strconv"

	"github.com/reroot-dev/reroot/events"
)

// FormatVersion is the seed format that is written and read.
const FormatVersion = 4

// Labels of a seed image's configuration.
const (
	LabelFormat      = "com.openshift.lifecycle-agent.seed_format_version"
	LabelClusterInfo = "com.openshift.lifecycle-agent.seed_cluster_info"
)

// Files at the top level of a seed image; the origin file's name holds the deployment's.
const (
	FileContainers    = "containers.list"
	FileEtcDeletions  = "etc.deletions"
	FileEtc           = "etc.tgz"
	FileClusterInfo   = "manifest.json"
	FileMachineConfig = "mco-currentconfig.json"
	FileOstree        = "ostree.tgz"
	FileRPMOstree     = "rpm-ostree.json"
	FileVar           = "var.tgz"
)

// maxLabel bounds the cluster information: it is JSON with a few dozen short values.
const maxLabel = 256 << 10

// Info is what the labels of a seed image say.
type Info struct {
	FormatVersion int
	Cluster       ClusterInfo
}

// ClusterInfo describes the reference cluster. The field names are the lifecycle-agent's; older seeds lack some.
type ClusterInfo struct {
	Version                  string       `json:"seed_cluster_ocp_version,omitempty"`
	BaseDomain               string       `json:"base_domain,omitempty"`
	ClusterName              string       `json:"cluster_name,omitempty"`
	NodeIP                   string       `json:"node_ip,omitempty"` // only in older seeds
	NodeIPs                  []string     `json:"node_ips,omitempty"`
	ReleaseRegistry          string       `json:"release_registry,omitempty"`
	MirrorRegistryConfigured bool         `json:"mirror_registry_configured,omitempty"`
	Hostname                 string       `json:"sno_hostname,omitempty"`
	RecertImage              string       `json:"recert_image_pull_spec,omitempty"`
	HasProxy                 bool         `json:"has_proxy"`
	ClusterNetworks          []string     `json:"cluster_network_cidr,omitempty"`
	ServiceNetworks          []string     `json:"service_network_cidr,omitempty"`
	MachineNetworks          []string     `json:"machine_networks,omitempty"`
	HasFIPS                  bool         `json:"has_fips"`
	TrustBundle              *TrustBundle `json:"additionalTrustBundle,omitempty"` // nil: unknown
	ContainerStorageTarget   string       `json:"container_storage_mountpoint_target,omitempty"`
	IngressCN                string       `json:"ingress_certificate_cn,omitempty"`
}

// TrustBundle says which additional certificate authorities the reference cluster trusts.
type TrustBundle struct {
	HasUserCABundle    bool   `json:"hasUserCaBundle"`
	ProxyConfigMapName string `json:"proxyConfigmapName,omitempty"`
}

// FormatError says that an image is not a seed image of a format that is supported.
type FormatError struct {
	Label   string
	Problem string
}

// Error implements error.
func (e *FormatError) Error() string {
	return fmt.Sprintf("cannot use the image as a seed: label %s %s", e.Label, e.Problem)
}

// Reason is the failure's reason in events.
func (e *FormatError) Reason() events.Reason { return events.ReasonSeedFormat }

// ParseLabels reads the labels of an image's configuration. The error is a [*FormatError].
func ParseLabels(labels map[string]string) (Info, error) {
	text, ok := labels[LabelFormat]
	if !ok {
		return Info{}, &FormatError{Label: LabelFormat, Problem: "is missing: this is no seed image"}
	}
	format, err := strconv.Atoi(text)
	if err != nil {
		return Info{}, &FormatError{Label: LabelFormat, Problem: fmt.Sprintf("is %q, not a number", text)}
	}
	if format != FormatVersion {
		return Info{}, &FormatError{Label: LabelFormat, Problem: fmt.Sprintf("is %d, only %d is supported", format, FormatVersion)}
	}
	text, ok = labels[LabelClusterInfo]
	if !ok {
		return Info{}, &FormatError{Label: LabelClusterInfo, Problem: "is missing"}
	}
	cluster, err := ParseClusterInfo([]byte(text))
	if err != nil {
		return Info{}, &FormatError{Label: LabelClusterInfo, Problem: err.Error()}
	}
	return Info{FormatVersion: format, Cluster: cluster}, nil
}

// ParseClusterInfo reads the JSON of manifest.json or of its label. Unknown fields are ignored: newer seeds may add some.
func ParseClusterInfo(text []byte) (ClusterInfo, error) {
	var c ClusterInfo
	if len(text) > maxLabel {
		return c, fmt.Errorf("is longer than %d bytes", maxLabel)
	}
	if err := json.Unmarshal(text, &c); err != nil {
		return c, fmt.Errorf("is not the cluster information: %w", err)
	}
	if c.Version == "" {
		return c, fmt.Errorf("names no version of the reference cluster")
	}
	return c, nil
}

// Labels are the labels of a seed image made from that cluster.
func Labels(c ClusterInfo) (map[string]string, error) {
	text, err := json.Marshal(c)
	if err != nil {
		return nil, fmt.Errorf("cannot encode cluster information: %w", err)
	}
	return map[string]string{LabelFormat: strconv.Itoa(FormatVersion), LabelClusterInfo: string(text)}, nil
}
