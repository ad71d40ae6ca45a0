package cluster

import (
	"encoding/json"
	"fmt"
	"slices"

	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// Service account signing keys on the node, without suffix.
const (
	legacyTokenKey = controllerPod + "secrets/service-account-private-key/service-account"
	boundTokenKey  = apiserverCerts + "secrets/bound-service-account-signing-key/service-account"
	// What the API server accepts tokens by.
	legacyTokenPublic = apiserverPod + "configmaps/sa-token-signing-certs/service-account-001.pub"
	boundTokenPublic  = apiserverPod + "configmaps/bound-sa-token-signing-certs/service-account-001.pub"
)

// writeFiles puts a node's files where d says.
func writeFiles(d disk, opts Options, m *material) error {
	for _, write := range []func(disk, Options, *material) error{
		writeCertificates, writeBundles, writeTokenKeys, writeKubeconfigs, writeKubelet, writeMachineConfig, writeManifests,
	} {
		if err := write(d, opts, m); err != nil {
			return err
		}
	}
	return nil
}

func writeCertificates(d disk, _ Options, m *material) error {
	places := map[string][]string{}
	for _, a := range m.inventory.authorities {
		places[a.name] = a.files
	}
	for _, c := range m.inventory.certificates {
		places[c.name] = c.files
	}
	for name, files := range places {
		pair := m.pairs[name]
		key, err := pair.KeyPEM()
		if err != nil {
			return err
		}
		for _, file := range files {
			if err := d.write(file+".crt", certificatePEM(pair), false); err != nil {
				return err
			}
			if err := d.write(file+".key", key, true); err != nil {
				return err
			}
		}
	}
	return nil
}

func writeBundles(d disk, _ Options, m *material) error {
	for _, b := range m.inventory.bundles {
		for _, file := range b.files {
			if err := d.write(file, m.bundlePEM(b.members), false); err != nil {
				return err
			}
		}
	}
	return nil
}

func writeTokenKeys(d disk, _ Options, m *material) error {
	legacy, err := tokenKeys(m.legacyTokens)
	if err != nil {
		return err
	}
	bound, err := tokenKeys(m.boundTokens)
	if err != nil {
		return err
	}
	for _, file := range []struct {
		path   string
		data   []byte
		secret bool
	}{
		{legacyTokenKey + ".key", legacy.private, true},
		{legacyTokenKey + ".pub", legacy.public, false},
		{boundTokenKey + ".key", bound.private, true},
		{boundTokenKey + ".pub", bound.public, false},
		{legacyTokenPublic, legacy.public, false},
		{boundTokenPublic, bound.public, false},
	} {
		if err := d.write(file.path, file.data, file.secret); err != nil {
			return err
		}
	}
	return nil
}

func writeKubeconfigs(d disk, opts Options, m *material) error {
	for _, k := range kubeconfigs(opts.Identity) {
		data, err := k.render(opts.Identity, m)
		if err != nil {
			return err
		}
		if err := d.write(k.file, data, true); err != nil {
			return err
		}
	}
	return nil
}

// writeKubelet writes what a kubelet has of its own: certificate and key in one
// file, a kubeconfig that refers to it, and the registries' credentials.
func writeKubelet(d disk, opts Options, m *material) error {
	for name, file := range map[string]string{"kubelet": kubeletClientPair, "kubelet-server": kubeletServerPair} {
		key, err := m.pairs[name].KeyPEM()
		if err != nil {
			return err
		}
		if err := d.write(file, slices.Concat(m.pairs[name].CertPEM(), key), true); err != nil {
			return err
		}
	}
	auth := &clientcmdapi.AuthInfo{ClientCertificate: kubeletClientPair, ClientKey: kubeletClientPair}
	config, err := encodeKubeconfig(opts.Identity, "kubelet", opts.Identity.InternalAPIHost(), m.bundlePEM(servingAuthorities), auth)
	if err != nil {
		return err
	}
	if err := d.write(kubeletKubeconfig, config, true); err != nil {
		return err
	}
	return d.write("/var/lib/kubelet/config.json", opts.PullSecret, true)
}

// writeMachineConfig writes the configuration that the machine config daemon
// believes in: kernel arguments are read from it when a seed image is made.
func writeMachineConfig(d disk, opts Options, m *material) error {
	rendered, err := renderedMachineConfig(opts, m)
	if err != nil {
		return err
	}
	data, err := json.Marshal(rendered)
	if err != nil {
		return fmt.Errorf("cannot encode machine config: %w", err)
	}
	return d.write("/etc/machine-config-daemon/currentconfig", data, true)
}
