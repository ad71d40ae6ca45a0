// Command etcd-3.6 is upstream's etcd 3.6, unchanged but for how it uses memory. A data directory is only ever
// opened by an etcd of its own minor version: a newer one upgrades it for good,
// or panics on it. Hence one module, and one binary, for each supported minor.
package main

import (
	"os"
	"runtime/debug"

	"go.etcd.io/etcd/server/v3/etcdmain"

	"github.com/reroot-dev/reroot/node-executor/heap"
)

// It reads its log and its database at once and is asked for all of it, then it ends: little of that is worth collecting.
const (
	expectedHeap = 1 << 30 // bytes, that of a large cluster; what is not used is not taken
	gcPercent    = 200
)

func main() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
	heap.Expect(expectedHeap)
	etcdmain.Main(os.Args)
}
