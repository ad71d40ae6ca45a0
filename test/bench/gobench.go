package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// module is this module's path.
const module = "github.com/reroot-dev/reroot"

// benchmarks runs Go benchmarks of packages.
type benchmarks struct {
	dir   string            // for test binaries
	built map[string]string // package → its test binary
}

// compare measures both sides of a comparison in turns and returns the medians of their figures.
func (b benchmarks) compare(ctx context.Context, c comparison) (ours, theirs float64, err error) {
	program, err := b.build(ctx, c.pkg)
	if err != nil {
		return 0, 0, err
	}
	names := []string{c.ours}
	if c.theirs != "" {
		names = append(names, c.theirs)
	}
	figures := map[string][]float64{}
	for range c.rounds {
		out, err := program.run(ctx, "^("+strings.Join(names, "|")+")$", c.time)
		if err != nil {
			return 0, 0, err
		}
		for _, name := range names {
			v, err := figure(out, name, c.unit)
			if err != nil {
				return 0, 0, err
			}
			figures[name] = append(figures[name], v)
		}
	}
	return median(figures[c.ours]), median(figures[c.theirs]), nil
}

// dirVariable names a directory for what several processes of one run share.
const dirVariable = "REROOT_BENCH_DIR"

// testBinary is a package's compiled tests, the directory that they expect to run in, and one for what they share.
type testBinary struct{ path, dir, scratch string }

// build compiles the package's tests, once.
func (b benchmarks) build(ctx context.Context, pkg string) (testBinary, error) {
	where := exec.CommandContext(ctx, "go", "list", "-f", "{{.Dir}}", module+"/"+pkg)
	where.Stderr = os.Stderr
	dir, err := where.Output()
	if err != nil {
		return testBinary{}, fmt.Errorf("cannot find package %s: %w", pkg, err)
	}
	t := testBinary{path: b.built[pkg], dir: strings.TrimSpace(string(dir)), scratch: b.dir}
	if t.path != "" {
		return t, nil
	}
	t.path = filepath.Join(b.dir, strings.ReplaceAll(pkg, "/", "-"))
	build := exec.CommandContext(ctx, "go", "test", "-c", "-o", t.path, module+"/"+pkg)
	build.Stderr = os.Stderr
	if err := build.Run(); err != nil {
		return t, fmt.Errorf("cannot build the benchmarks of %s: %w", pkg, err)
	}
	b.built[pkg] = t.path
	return t, nil
}

// run runs the benchmarks that match the pattern in one process and returns what it prints.
func (t testBinary) run(ctx context.Context, pattern, benchtime string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, t.path, "-test.run=^$", "-test.bench="+pattern, "-test.benchtime="+benchtime)
	cmd.Dir, cmd.Env = t.dir, append(os.Environ(), dirVariable+"="+t.scratch)
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("%w:\n%s%s", err, out, errs.Bytes())
	}
	return out, nil
}

// figure finds a benchmark's value in the output of the testing package: a name, perhaps with the number of processors,
// the number of iterations, then values each followed by its unit.
func figure(out []byte, benchmark, unit string) (float64, error) {
	for s := bufio.NewScanner(bytes.NewReader(out)); s.Scan(); {
		fields := strings.Fields(s.Text())
		if len(fields) < 4 {
			continue
		}
		if name, _, _ := strings.Cut(fields[0], "-"); name != benchmark {
			continue
		}
		for i := 2; i+1 < len(fields); i += 2 {
			if fields[i+1] == unit {
				return strconv.ParseFloat(fields[i], 64)
			}
		}
	}
	return 0, fmt.Errorf("%s reports no %s", benchmark, unit)
}

// median is the middle of the values, the upper one of two; 0 of none.
func median(values []float64) float64 {
	if len(values) == 0 {
		return 0
	}
	slices.Sort(values)
	return values[len(values)/2]
}
