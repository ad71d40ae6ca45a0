// Command reroot is the command line of Reroot: it asks for upgrades and stages, and shows, follows and replays their
// histories. Linked as kubectl-reroot or oc-reroot it is a plug-in of those. `reroot --help` lists the commands,
// `reroot explain exit-code` what it exits with.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/reroot-dev/reroot/events/cmd/reroot/cli"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal kills
	os.Exit(cli.Run(ctx, cli.OfProcess()))
}
