// Command lab-kubelet is the lab's stand-in for a kubelet: it runs the static
// pods of a node as plain processes, see package staticpod. It ends its pods on
// SIGTERM or SIGINT.
package main

import (
	"context"
	"flag"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"github.com/reroot-dev/reroot/test/lab/staticpod"
)

func main() {
	runner := staticpod.Runner{Log: slog.New(slog.NewTextHandler(os.Stderr, nil))}
	flag.StringVar(&runner.Manifests, "manifests", "/etc/kubernetes/manifests", "`directory` of static pod manifests")
	flag.StringVar(&runner.Images, "images", "/var/lib/containers/lab/images", "`directory` of the executables that images stand for")
	flag.StringVar(&runner.Logs, "logs", "/var/log/pods", "`directory` that gets <pod>.log")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	if err := runner.Run(ctx); err != nil {
		runner.Log.Error("cannot run the static pods", "err", err)
		os.Exit(1)
	}
}
