package site

import (
	"fmt"
	"maps"
	"net"
	"slices"
	"strconv"
	"strings"

	"github.com/reroot-dev/reroot/node-executor/crypto/rename"
	"github.com/reroot-dev/reroot/node-executor/crypto/rule"
)

// loopback is where static pods listen for each other.
const loopback = "127.0.0.1:"

// Renames are the rules from a seed's names to these. Names that are equal, or empty on one side, need none.
func (to Names) Renames(from Names) rename.Rules {
	var rules rename.Rules
	add := func(make func(old, renamed string) rename.Rule, old, renamed string) {
		if old != "" && renamed != "" && old != renamed {
			rules = append(rules, make(old, renamed))
		}
	}
	add(rename.Domain, from.Domain, to.Domain)
	add(rename.InfraID, from.InfraID, to.InfraID)
	add(rename.ClusterID, from.ClusterID, to.ClusterID)
	add(rename.Hostname, from.Hostname, to.Hostname)
	if len(from.NodeIPs) == len(to.NodeIPs) {
		for i := range from.NodeIPs {
			add(rename.Address, from.NodeIPs[i], to.NodeIPs[i])
		}
	}
	if len(from.MachineNetworks) == len(to.MachineNetworks) {
		for i := range from.MachineNetworks {
			add(rename.Network, from.MachineNetworks[i], to.MachineNetworks[i])
		}
	}
	rules = append(rules, rule.ProxyRenames(from.Proxy, to.Proxy)...)
	ports := map[string]bool{} // rules must have different old names
	port := func(old, renamed string) {
		host, oldPort := split(old)
		_, newPort := split(renamed)
		if oldPort != 0 && newPort != 0 && oldPort != newPort && !ports[old] {
			ports[old] = true
			rules = append(rules, rename.Port(host, oldPort, newPort))
		}
	}
	port(from.API, to.API)
	for _, name := range []string{"api.", "api-int."} { // what the API is called from elsewhere
		_, oldPort := split(from.API)
		_, newPort := split(to.API)
		port(fmt.Sprintf("%s%s:%d", name, from.Domain, oldPort), fmt.Sprintf("%s%s:%d", name, to.Domain, newPort))
	}
	for _, manifest := range slices.Sorted(maps.Keys(from.Flags)) {
		for _, flag := range slices.Sorted(maps.Keys(from.Flags[manifest])) {
			old, renamed := from.Flags[manifest][flag], to.Flags[manifest][flag]
			if host, _ := split(address(old)); host != "" {
				port(address(old), address(renamed))
				continue
			}
			if flag == probedPort { // whatever listens there may say so in a flag of its own
				add(func(old, renamed string) rename.Rule { return rename.Setting(flag, old, renamed) }, old, renamed)
				port(loopback+old, loopback+renamed)
				continue
			}
			add(func(old, renamed string) rename.Rule { return rename.Flag(flag, old, renamed) }, old, renamed)
		}
	}
	return rules
}

// address is host:port of a URL, or the text itself.
func address(flag string) string {
	if strings.Contains(flag, "://") {
		return hostPort(flag)
	}
	return flag
}

func split(hostPort string) (string, int) {
	host, port, err := net.SplitHostPort(hostPort)
	if err != nil {
		return "", 0
	}
	n, err := strconv.Atoi(port)
	if err != nil {
		return "", 0
	}
	return host, n
}
