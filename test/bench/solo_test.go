package main

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/reroot-dev/reroot/node-executor/sandbox"
	"github.com/reroot-dev/reroot/test/lab/world"
)

const (
	// idleAfter is how long the process is left alone first: what it does once after its start is not idleness.
	idleAfter = 20 * time.Second
	// idleFor is how long it is looked at. The kernel counts processor time in steps of 10 ms.
	idleFor = 30 * time.Second
)

// BenchmarkSoloIdle looks at the process of a node that is all there is, journal, functions and executor in one, beside
// its cluster's API server, while nobody asks for anything. RSS includes the pages of the program itself that are in
// memory; CPU is a part of one processor.
func BenchmarkSoloIdle(b *testing.B) {
	if os.Geteuid() != 0 {
		b.Skip("needs root: namespaces and ostree")
	}
	programs, err := world.Prepare(b.Context(), os.Stderr)
	if err != nil {
		b.Fatal(err)
	}
	dir, err := os.MkdirTemp("", "reroot-bench-")
	if err != nil {
		b.Fatal(err)
	}
	w, err := world.New(b.Context(), world.Options{Dir: dir, Programs: programs, Solo: true})
	defer func() {
		if err := w.Close(false); err != nil {
			b.Error(err)
		}
	}()
	if err != nil {
		b.Fatal(err)
	}
	if err := w.CreateResource(b.Context()); err != nil {
		b.Fatal(err)
	}
	if _, err := w.Journal(b.Context()); err != nil {
		b.Fatal(err)
	}
	pid := inside(b, w, "systemctl", "show", "--property=MainPID", "--value", "reroot-node.service")
	for b.Loop() {
		time.Sleep(idleAfter)
		begin, used := time.Now(), processorTime(b, w, pid)
		time.Sleep(idleFor)
		used = processorTime(b, w, pid) - used
		b.ReportMetric(100*used.Seconds()/time.Since(begin).Seconds(), "CPU-%")
		b.ReportMetric(memory(b, w, pid), "RSS-MiB")
	}
}

// processorTime is what a process of the node has used of all processors so far.
func processorTime(b *testing.B, w *world.World, pid string) time.Duration {
	b.Helper()
	stat := inside(b, w, "cat", "/proc/"+pid+"/stat")
	fields := strings.Fields(stat[strings.LastIndexByte(stat, ')')+1:]) // the first is the process's state, number 3 in proc(5)
	ticks := 0
	for _, number := range []int{14, 15} { // in user mode, in the kernel
		n, err := strconv.Atoi(fields[number-3])
		if err != nil {
			b.Fatal(err)
		}
		ticks += n
	}
	return time.Duration(ticks) * 10 * time.Millisecond
}

// memory is what a process of the node holds, in MiB.
func memory(b *testing.B, w *world.World, pid string) float64 {
	b.Helper()
	for line := range strings.Lines(inside(b, w, "cat", "/proc/"+pid+"/status")) {
		var kib float64
		if n, _ := fmt.Sscanf(line, "VmRSS: %f kB", &kib); n == 1 {
			return kib / 1024
		}
	}
	b.Fatal("the kernel does not say what the process holds")
	return 0
}

// inside runs a program on the node and returns what it prints.
func inside(b *testing.B, w *world.World, argv ...string) string {
	b.Helper()
	stdout, stderr, code, err := sandbox.Exec(b.Context(), w.Sandbox, argv, nil)
	if err != nil || code != 0 {
		b.Fatalf("%v: exit code %d, %v: %s", argv, code, err, stderr)
	}
	return strings.TrimSpace(string(stdout))
}
