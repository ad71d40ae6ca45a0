// Command lab-oadp is the lab's stand-in for the OADP operator, see package oadp.
// It is a static pod of the lab's nodes.
package main

import (
	"context"
	"flag"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/reroot-dev/reroot/test/lab/cluster/oadp"
)

func main() {
	kubeconfig := flag.String("kubeconfig", "", "`file` with the credentials of a cluster administrator")
	address := flag.String("velero-may-start", "", "`address` that accepts connections once Velero has a location")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	if err := run(ctx, *kubeconfig, *address); err != nil {
		slog.Error("lab-oadp ended", "err", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, kubeconfig, address string) error {
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return err
	}
	client, err := dynamic.NewForConfig(config)
	if err != nil {
		return err
	}
	return oadp.Run(ctx, client, address, slog.Default())
}
