// Command prepare makes what tests and demo need and the machine lacks, and says what it is doing:
//
//	go run ./test/lab/cmd/prepare
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/reroot-dev/reroot/test/lab/world"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if _, err := world.Prepare(ctx, os.Stderr); err != nil {
		fmt.Fprintf(os.Stderr, "error: cannot prepare the lab\nbecause: %v\ndo: mend that and run the command again; what was built is kept\n", err)
		os.Exit(1)
	}
}
