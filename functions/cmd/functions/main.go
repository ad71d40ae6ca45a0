// Command functions is reroot-functions, the one program of all functions. It hosts one of them behind HTTP, as Knative
// calls it, or all of them in this process, together with everything else that a cluster needs besides its node.
//
// Exit codes: 0 done, 1 failed, 2 wrong usage.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/reroot-dev/reroot/events"
	"github.com/reroot-dev/reroot/functions/pipeline"
	"github.com/reroot-dev/reroot/functions/runtime"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := command(os.Getenv, os.Stderr).ExecuteContext(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "reroot-functions:", err)
		if usage := (*usageError)(nil); errors.As(err, &usage) {
			os.Exit(2)
		}
		os.Exit(1)
	}
}

// usageError says that the command line is wrong.
type usageError struct{ error }

// options come from flags, or else from the environment, which is how Knative passes them.
type options struct {
	function, port      string
	all                 bool
	server, creds, ca   string
	synced              bool
	replicas            int
	cluster, kubeconfig string
}

func command(env func(string) string, stderr io.Writer) *cobra.Command {
	var o options
	c := &cobra.Command{
		Use: "reroot-functions", Short: "Image-based upgrades: the functions",
		SilenceUsage: true, SilenceErrors: true,
		Args: cobra.ArbitraryArgs,
		RunE: func(c *cobra.Command, args []string) error {
			if err := o.check(args); err != nil {
				return err
			}
			return host(c.Context(), o, slog.New(slog.NewTextHandler(stderr, nil)))
		},
	}
	c.SetErr(stderr)
	c.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return &usageError{err} })
	port := env("PORT")
	if port == "" {
		port = "8080"
	}
	f := c.Flags()
	f.StringVar(&o.function, "function", env("REROOT_FUNCTION"), "host this function behind HTTP ($REROOT_FUNCTION)")
	f.StringVar(&o.port, "port", port, "where it listens ($PORT)")
	f.BoolVar(&o.all, "all", false, "host all functions, admit events and watch the cluster's API")
	f.StringVar(&o.server, "server", env("REROOT_SERVER"), "URL of the NATS server that holds the journal ($REROOT_SERVER)")
	f.StringVar(&o.creds, "creds", env("REROOT_CREDS"), "file with NATS credentials ($REROOT_CREDS)")
	f.StringVar(&o.ca, "ca", env("REROOT_CA"), "file with the authorities that sign the server's certificate ($REROOT_CA)")
	f.BoolVar(&o.synced, "synced", env("REROOT_SYNCED") == "true", "with --all: vouch that the server runs with sync_interval: always ($REROOT_SYNCED)")
	f.IntVar(&o.replicas, "replicas", 1, "with --all: how many servers keep the journal")
	f.StringVar(&o.cluster, "cluster", env("REROOT_CLUSTER"), "name of the cluster ($REROOT_CLUSTER)")
	f.StringVar(&o.kubeconfig, "kubeconfig", env("KUBECONFIG"), "kubeconfig of that cluster ($KUBECONFIG)")
	return c
}

func (o options) check(args []string) error {
	switch {
	case len(args) > 0:
		return &usageError{fmt.Errorf("unknown argument %q", args[0])}
	case o.all == (o.function != ""):
		return &usageError{errors.New("give either --all or a --function")}
	case o.server == "":
		return &usageError{errors.New("give the journal's --server")}
	case !events.ValidCluster(o.cluster):
		return &usageError{fmt.Errorf("--cluster %q is not a DNS label", o.cluster)}
	case o.all && o.kubeconfig == "":
		return &usageError{errors.New("give the cluster's --kubeconfig")}
	}
	return nil
}

// host does what is asked for until ctx ends.
func host(ctx context.Context, o options, log *slog.Logger) error {
	api, err := pipeline.Connect(o.kubeconfig)
	if err != nil {
		return err
	}
	p := pipeline.Pipeline{Cluster: o.cluster, API: api, Log: log}
	handler, err := p.Function(o.function)
	if !o.all && err != nil {
		return &usageError{err}
	}
	store, end, err := open(ctx, o, log)
	if err != nil {
		return err
	}
	defer end()
	if o.all {
		return p.Run(ctx, store)
	}
	return serve(ctx, o.port, runtime.HTTP(o.function, handler, store, log), log)
}
