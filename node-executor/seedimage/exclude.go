package seedimage

import (
	"encoding/json"
	"fmt"
	"path"
	"strings"
)

// What a seed does not carry, relative to /var: logs, caches and what belongs to the one node or to its running
// containers. The directories themselves stay. Source: the lifecycle-agent's format 4; lib/reroot is ours.
var skippedVar = []string{
	"tmp/", "log/", "lib/lca/", "lib/log/", "lib/cni/bin/", "lib/containers/", "lib/kubelet/pods/", "lib/ovn-ic/etc/",
	"lib/reroot/",
}

// What a seed does not carry of /etc's changes: the node's own network and names.
var skippedEtc = []string{
	"NetworkManager/system-connections", "machine-config-daemon/orig/var/lib/kubelet", "openvswitch/conf.db",
	"openvswitch/.conf.db.~lock~", "hostname",
}

// skipVar reports whether the seed leaves out a path relative to /var. Files that the machine-config-daemon manages
// always stay, for it checks them.
func skipVar(name string, managed []string) bool {
	for _, m := range managed {
		if m == name || strings.HasPrefix(m, name+"/") {
			return false
		}
	}
	if name == "lib/lca" || path.Base(name) == ".bash_history" {
		return true
	}
	for _, dir := range skippedVar {
		if strings.HasPrefix(name, dir) {
			return true
		}
	}
	return false
}

// skipEtc reports whether the seed leaves out a path relative to /etc.
func skipEtc(name string) bool {
	if strings.Contains(name, "cni/multus") {
		return true
	}
	for _, s := range skippedEtc {
		if name == s || strings.HasPrefix(name, s+"/") {
			return true
		}
	}
	return false
}

// managedFiles lists the files below /var/lib of a MachineConfig's ignition part, relative to /var.
func managedFiles(machineConfig []byte) ([]string, error) {
	var config struct {
		Spec struct {
			Config struct {
				Storage struct {
					Files []struct {
						Path string `json:"path"`
					} `json:"files"`
				} `json:"storage"`
			} `json:"config"`
		} `json:"spec"`
	}
	if err := json.Unmarshal(machineConfig, &config); err != nil {
		return nil, fmt.Errorf("cannot parse MachineConfig: %w", err)
	}
	var list []string
	for _, f := range config.Spec.Config.Storage.Files {
		if name, ok := strings.CutPrefix(path.Clean(f.Path), "/var/"); ok && strings.HasPrefix(name, "lib/") {
			list = append(list, name)
		}
	}
	return list, nil
}
