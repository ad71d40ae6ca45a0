// Package node holds the systemd units of the node, as files, for whoever installs them: `reroot-node install` in the
// root that a cluster starts with, and the pivot in each new one.
//
//	var-lib-reroot.mount     the state directory /sysroot/reroot, the same in every root
//	reroot-node.service      the executor
//	reroot-watchdog.service  new roots only: goes back to the old root unless this one is confirmed in time
//	reroot-identity.service  new roots only: ends when the root has the site's identity
//	gate.conf                drop-in for kubelet and CRI-O of new roots: they start after reroot-identity.service
//
// All of them run the program that is pinned in the state directory, so that one and the same serves both roots of an
// upgrade.
package node

import (
	"embed"
	"fmt"
	"strings"
)

//go:embed *.service *.mount gate.conf
var files embed.FS

// Names of the units.
const (
	Mount    = "var-lib-reroot.mount"
	Executor = "reroot-node.service"
	Watchdog = "reroot-watchdog.service"
	Identity = "reroot-identity.service"
)

// Foreign are units of the lifecycle-agent that a seed of format 4 brings along, enabled: they would reconfigure the
// node, and count down to a rollback, beside ours.
var Foreign = []string{"installation-configuration.service", "lca-init-monitor.service"}

// Unit is the text of the unit with that name. It panics for a name that is not one of the constants.
func Unit(name string) []byte { return read(name) }

// Gate is the drop-in that has a unit wait for the site's identity.
func Gate() []byte { return read("gate.conf") }

// WantedBy are the targets that a unit is enabled for: its own [Install] section says so.
func WantedBy(name string) []string {
	var targets []string
	for line := range strings.Lines(string(read(name))) {
		if list, ok := strings.CutPrefix(strings.TrimSpace(line), "WantedBy="); ok {
			targets = append(targets, strings.Fields(list)...)
		}
	}
	return targets
}

func read(name string) []byte {
	text, err := files.ReadFile(name)
	if err != nil {
		panic(fmt.Sprintf("no unit %s: %v", name, err))
	}
	return text
}
