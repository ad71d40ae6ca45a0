// Command velero is upstream's velero, fit for running as a plain process
// beside others on one loopback address. It differs in two things that
// upstream has no flag for:
//
//   - controller-runtime's metrics listener, which takes :8080 on every
//     interface and ends the program when that is busy, is off (velero's own
//     metrics stay, see --metrics-address);
//   - velero starts itself again, by argv[0], for its built-in plugins. A static
//     pod's argv[0] is a bare name, so it is replaced by the executable's path.
package main

import (
	"os"

	"github.com/vmware-tanzu/velero/pkg/cmd"
	"github.com/vmware-tanzu/velero/pkg/cmd/velero"
	"k8s.io/klog/v2"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"
)

func main() {
	defer klog.Flush()
	metricsserver.DefaultBindAddress = "0"
	self, err := os.Executable()
	cmd.CheckError(err)
	os.Args[0] = self
	cmd.CheckError(velero.NewCommand("velero").Execute())
}
