// Command etcd-3.7 is upstream's etcd 3.7, unchanged. A data directory is only ever
// opened by an etcd of its own minor version: a newer one upgrades it for good,
// or panics on it. Hence one module, and one binary, for each supported minor.
package main

import (
	"os"

	"go.etcd.io/etcd/server/v3/etcdmain"
)

func main() { etcdmain.Main(os.Args) }
