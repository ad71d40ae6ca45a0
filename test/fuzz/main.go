// Command fuzz runs every fuzz target of the module, one after the other, each for some time:
//
//	make fuzz FUZZTIME=5m
//
// The targets are found, not listed, so a new one is run without being named anywhere. An input that makes a target
// fail is left by the go command in the target's testdata/fuzz, from where every later `go test` runs it again.
package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"
)

func main() {
	each := flag.Duration("time", 30*time.Second, "how long to run each target")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := fuzz(ctx, *each, flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

// target is one fuzz function of one package.
type target struct{ pkg, name string }

// fuzz runs the targets of the packages, all of the module's when none is named. One that fails does not keep the
// others from being run.
func fuzz(ctx context.Context, each time.Duration, packages []string) error {
	if len(packages) == 0 {
		packages = []string{"./..."}
	}
	targets, err := find(ctx, packages)
	if err != nil {
		return err
	}
	if len(targets) == 0 {
		return errors.New("cannot find a fuzz target")
	}
	fmt.Printf("%d targets, %s each\n", len(targets), each)
	failed := 0
	for _, t := range targets {
		fmt.Printf("\n%s %s\n", t.pkg, t.name)
		run := exec.CommandContext(ctx, "go", "test", "-run=^$", "-fuzz=^"+t.name+"$", "-fuzztime="+each.String(),
			"-fuzzminimizetime=1s", t.pkg) // without a limit one input may be made smaller until the time is over
		run.Stdout, run.Stderr = os.Stdout, os.Stderr
		// The go command must end its own workers: interrupt it as Ctrl-C would.
		run.Cancel = func() error { return run.Process.Signal(os.Interrupt) }
		run.WaitDelay = 10 * time.Second
		err := run.Run()
		if ctx.Err() != nil {
			return errors.New("interrupted")
		}
		if err != nil {
			failed++
		}
	}
	if failed > 0 {
		return fmt.Errorf("%d of %d targets failed; each left its input in testdata/fuzz of its package", failed, len(targets))
	}
	return nil
}

// find lists the targets by package. Only packages whose test files mention one are compiled for the question: the go
// command builds a test binary to list what is in it.
func find(ctx context.Context, packages []string) ([]target, error) {
	candidates, err := mention(ctx, packages)
	if err != nil {
		return nil, err
	}
	var targets []target
	for _, pkg := range candidates {
		out, err := output(ctx, "test", "-list=^Fuzz", pkg)
		if err != nil {
			return nil, err
		}
		for line := range strings.Lines(out) {
			if name := strings.TrimSpace(line); strings.HasPrefix(name, "Fuzz") {
				targets = append(targets, target{pkg, name})
			}
		}
	}
	return targets, nil
}

// mention lists the packages whose test files declare something that begins with Fuzz.
func mention(ctx context.Context, packages []string) ([]string, error) {
	const format = `{{$p := .}}{{range .TestGoFiles}}{{$p.ImportPath}}{{"\t"}}{{$p.Dir}}/{{.}}{{"\n"}}{{end}}` +
		`{{range .XTestGoFiles}}{{$p.ImportPath}}{{"\t"}}{{$p.Dir}}/{{.}}{{"\n"}}{{end}}`
	out, err := output(ctx, append([]string{"list", "-f", format}, packages...)...)
	if err != nil {
		return nil, err
	}
	var found []string
	for line := range strings.Lines(out) {
		pkg, file, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "\t")
		if slices.Contains(found, pkg) {
			continue
		}
		src, err := os.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("cannot look for fuzz targets: %w", err)
		}
		if bytes.Contains(src, []byte("\nfunc Fuzz")) {
			found = append(found, pkg)
		}
	}
	return found, nil
}

// output is what the go command prints.
func output(ctx context.Context, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("cannot run go %s: %w", args[0], err)
	}
	return string(out), nil
}
