// Command hyperkube is the lab's Kubernetes control plane: upstream's
// kube-apiserver and kube-controller-manager, unchanged, in one executable, as
// OKD ships them.
//
//	hyperkube kube-apiserver --etcd-servers=...
//	kube-controller-manager --kubeconfig=...   (a link, or argv[0] of a static pod)
//
// The flags behind the component's name are upstream's own. Which component to
// run is decided before either is constructed: both register their feature
// gates in one registry of the process, so a process is only ever one of them.
package main

import (
	"fmt"
	"os"
	"path/filepath"
	_ "time/tzdata" // time zones of CronJobs, on nodes without tzdata

	"github.com/spf13/cobra"
	"k8s.io/component-base/cli"
	_ "k8s.io/component-base/logs/json/register"          // --logging-format=json
	_ "k8s.io/component-base/metrics/prometheus/clientgo" // client metrics
	_ "k8s.io/component-base/metrics/prometheus/version"  // version metric
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	controllermanager "k8s.io/kubernetes/cmd/kube-controller-manager/app"
)

var components = map[string]func() *cobra.Command{
	"kube-apiserver":          apiserver.NewAPIServerCommand,
	"kube-controller-manager": controllermanager.NewControllerManagerCommand,
}

func main() {
	name, args := component(os.Args)
	construct, ok := components[name]
	if !ok {
		fmt.Fprintln(os.Stderr, "usage: hyperkube kube-apiserver|kube-controller-manager [upstream's flags]")
		os.Exit(2)
	}
	command := construct()
	command.SetArgs(args)
	os.Exit(cli.Run(command))
}

// component splits a command line into the component it names, by the name of
// the program or else by the first argument, and that component's flags.
func component(argv []string) (name string, args []string) {
	if name := filepath.Base(argv[0]); components[name] != nil {
		return name, argv[1:]
	}
	if len(argv) < 2 {
		return "", nil
	}
	return argv[1], argv[2:]
}
