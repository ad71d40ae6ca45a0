// Command lab-build builds the named third-party executables of the lab, or all
// of them, and prints each one's name and path:
//
//	go run ./test/lab/build/cmd/lab-build [name ...]
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/reroot-dev/reroot/test/lab/build"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	names := os.Args[1:]
	if len(names) == 0 {
		names = build.Names()
	}
	paths, err := build.Binaries(ctx, os.Stderr, names...)
	if err != nil {
		fmt.Fprintln(os.Stderr, "lab-build:", err)
		os.Exit(1)
	}
	for _, name := range names {
		fmt.Printf("%s\t%s\n", name, paths[name])
	}
}
