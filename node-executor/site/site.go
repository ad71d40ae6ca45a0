package site

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/reroot-dev/reroot/node-executor/crypto/rule"
)

// Version of the snapshot's form.
const Version = 1

// fileName of the snapshot in its directory.
const fileName = "site.json"

// Names are what a cluster and its node are called, and whatever else must be known of the seed too to be found and
// replaced.
type Names struct {
	Domain    string   `json:"domain"`  // <cluster name>.<base domain>
	InfraID   string   `json:"infraID"` // Infrastructure's status.infrastructureName
	ClusterID string   `json:"clusterID"`
	Hostname  string   `json:"hostname"`
	NodeIPs   []string `json:"nodeIPs"`
	// MachineNetworks are the node's networks in CIDR notation.
	MachineNetworks []string `json:"machineNetworks,omitempty"`
	// Proxy is how programs of the cluster reach the outside: the Proxy's status.
	Proxy rule.ProxySettings `json:"proxy"`
	// TrustBundles are the authorities that the cluster trusts besides its own: ConfigMap of openshift-config → PEM.
	TrustBundles map[string]string `json:"trustBundles,omitempty"`
	// RegistryBundle is the ConfigMap of openshift-config with the authorities of image registries, which are others': the
	// Image's spec.additionalTrustedCA. Only known of a seed.
	RegistryBundle string `json:"registryBundle,omitempty"`
	// Flags are the addresses and ports in the commands of the static pods: manifest file → flag → value.
	Flags map[string]map[string]string `json:"flags,omitempty"`
	// API is host:port of the API server as the node's own kubeconfig has it.
	API string `json:"api"`
}

// Signer is a certificate, usually an authority's, whose private key goes along, so that what trusts it today trusts it
// afterwards.
type Signer struct {
	CommonName string `json:"commonName"`
	Secret     string `json:"secret"` // namespace/name
	Key        []byte `json:"key"`    // PEM
	// SubjectKeyID is what clients have in their copy of the authority's certificate.
	SubjectKeyID []byte `json:"subjectKeyID"`
}

// File is a file of the node that goes along.
type File struct {
	Path string      `json:"path"` // absolute
	Mode fs.FileMode `json:"mode"`
	UID  int         `json:"uid"`
	GID  int         `json:"gid"`
	Data []byte      `json:"data"`
}

// Site is a snapshot. It holds secrets.
type Site struct {
	Version int   `json:"version"`
	Names   Names `json:"names"`

	NodeLabels map[string]string `json:"nodeLabels"`
	Signers    []Signer          `json:"signers"`
	// Issued are the pairs of cert-manager's certificates. A seed may have the same ones.
	Issued []Signer `json:"issued,omitempty"`
	// ClientCA is the certificate (PEM) of the authority of the administrator's kubeconfig; its key exists nowhere.
	ClientCA []byte `json:"clientCA"`
	// PullSecret is the cluster's pull secret, .dockerconfigjson.
	PullSecret []byte `json:"pullSecret"`
	// Kubeadmin is the hash of the administrator's password; empty when the user removed it.
	Kubeadmin []byte `json:"kubeadmin,omitempty"`
	// InstallConfig is what the cluster was installed with, YAML; empty when it does not know any more.
	InstallConfig []byte `json:"installConfig,omitempty"`
	// Proxy is what the administrator said of the proxy: the Proxy's spec.
	Proxy rule.ProxySettings `json:"proxy"`
	// Objects are put on the new root's API, in this order.
	Objects []unstructured.Unstructured `json:"objects"`
	Files   []File                      `json:"files"`
}

// Save writes the snapshot into dir, complete or not at all. Only root can read it.
func (s *Site) Save(dir string) error {
	b, err := json.Marshal(s)
	if err != nil {
		return fmt.Errorf("cannot encode the site: %w", err)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("cannot save the site: %w", err)
	}
	tmp := filepath.Join(dir, "."+fileName)
	if err := writeSynced(tmp, b); err != nil {
		return errors.Join(fmt.Errorf("cannot save the site: %w", err), os.Remove(tmp))
	}
	if err := os.Rename(tmp, filepath.Join(dir, fileName)); err != nil {
		return fmt.Errorf("cannot save the site: %w", err)
	}
	return syncDir(dir)
}

// Load reads a snapshot.
func Load(dir string) (*Site, error) {
	b, err := os.ReadFile(filepath.Join(dir, fileName))
	if err != nil {
		return nil, fmt.Errorf("cannot load the site: %w", err)
	}
	var s Site
	if err := json.Unmarshal(b, &s); err != nil {
		return nil, errors.New("cannot load the site: the snapshot is damaged") // the error could quote secrets
	}
	if s.Version != Version {
		return nil, fmt.Errorf("cannot load the site: its form is %d, this program reads %d", s.Version, Version)
	}
	return &s, nil
}

func writeSynced(path string, b []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	return errors.Join(err, f.Sync(), f.Close())
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
