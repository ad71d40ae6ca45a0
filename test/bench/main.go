// Command bench measures Reroot beside what it is made of or what would be used instead, and prints ratios:
//
//	make bench                 everything, about a quarter of an hour
//	make bench ARGS=journal    only the lines whose text or package contains the word
//
// Every figure is a Go benchmark, most of them beside the code that they measure, those that need the lab in this
// directory. Both sides of a ratio run in turns, in one process, on one machine: a ratio means something on a busy
// machine too, where a time does not; below 1, Reroot takes less time. Nothing is asserted.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"strings"
	"syscall"
	"text/tabwriter"
)

// comparison is one line of the table.
type comparison struct {
	what   string
	pkg    string // relative to the module's root
	ours   string // names of benchmarks
	theirs string // "": there is nothing to compare with
	unit   string // of the figure, as the benchmark reports it
	than   string // what theirs is
	time   string // for -test.benchtime
	rounds int
}

var comparisons = []comparison{
	{"append an event, react, append one", "events/journal", "BenchmarkHop", "BenchmarkBareHop", "p50-µs", "the same messages over bare JetStream", "300x", 5},
	{"append an event, react, append a batch of 3", "events/journal", "BenchmarkHopBatch", "BenchmarkBareHopBatch", "p50-µs", "the same messages over bare JetStream", "300x", 5},
	{"a whole upgrade in which nothing takes time", "functions/runtime", "BenchmarkPipeline", "", "p50-ms", "", "100x", 3},
	{"fold 10,000 events", "functions/runtime", "BenchmarkFold10000", "", "ns/op", "", "30x", 3},
	{"regenerate a single node's cryptography", "test/bench", "BenchmarkRegenerate", "BenchmarkKeys", "ns/op", "only making the keys that it needs", "1x", 15},
	{"… in processor time, etcd's included", "test/bench", "BenchmarkRegenerate", "BenchmarkKeys", "cpu-ms", "the same", "1x", 5},
	{"… in memory", "test/bench", "BenchmarkRegenerate", "", "peak-MiB", "", "1x", 5},
	{"… beside recert's keys", "test/bench", "BenchmarkRegenerate", "BenchmarkRecertKeys", "ns/op", "the 130 keys that recert always makes by openssl, without its pause of 1 s for each", "1x", 3},
	{"… with keys that are there", "test/bench", "BenchmarkRest", "", "ns/op", "", "1x", 5},
	{"… of a cluster three times as large", "test/bench", "BenchmarkRest3", "BenchmarkRest", "ns/op", "a single node's: 3 is linear", "1x", 3},
	{"… of a cluster ten times as large", "test/bench", "BenchmarkRest10", "BenchmarkRest", "ns/op", "a single node's: 10 is linear", "1x", 3},
	{"… and its memory", "test/bench", "BenchmarkRest10", "BenchmarkRest", "peak-MiB", "a single node's", "1x", 1},
	{"import the lab's seed image", "test/bench", "BenchmarkImport", "BenchmarkUnpackAndPull", "ns/op", "lifecycle-agent's sequence: download, tar, ostree pull-local, tar", "1x", 3},
	{"a node that is all there is, idle: memory (RSS)", "test/bench", "BenchmarkSoloIdle", "", "RSS-MiB", "", "1x", 1},
	{"a node that is all there is, idle: one processor", "test/bench", "BenchmarkSoloIdle", "", "CPU-%", "", "1x", 1},
}

func main() {
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := bench(ctx, flag.Arg(0)); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

// bench runs the comparisons whose text or package contains the word and prints the table.
func bench(ctx context.Context, word string) error {
	dir, err := os.MkdirTemp("", "reroot-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	fmt.Printf("%s, %d cores, load %s at the start\n\n", processor(), runtime.NumCPU(), load())
	table := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "WHAT\tREROOT\tBESIDE\tRATIO\tBESIDE WHAT")
	b := benchmarks{dir: dir, built: map[string]string{}}
	for _, c := range comparisons {
		if !strings.Contains(c.what+"\n"+c.pkg, word) {
			continue
		}
		fmt.Fprintf(os.Stderr, "measuring: %s\n", c.what)
		ours, theirs, err := b.compare(ctx, c)
		if err != nil {
			return fmt.Errorf("cannot measure %q: %w", c.what, err)
		}
		if c.theirs == "" {
			fmt.Fprintf(table, "%s\t%s\t\t\t\n", c.what, spell(ours, c.unit))
			continue
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%.2f\t%s\n", c.what, spell(ours, c.unit), spell(theirs, c.unit), ours/theirs, c.than)
	}
	return table.Flush()
}

// spell writes a figure with a unit that suits its size.
func spell(v float64, unit string) string {
	switch unit {
	case "RSS-MiB", "peak-MiB":
		return fmt.Sprintf("%.0f MiB", v)
	case "CPU-%":
		return fmt.Sprintf("%.2f %%", v)
	}
	scale := map[string]float64{"ns/op": 1, "p50-µs": 1e3, "p50-ms": 1e6, "cpu-ms": 1e6}
	ns := v * scale[unit]
	switch {
	case ns >= 1e9:
		return fmt.Sprintf("%.2f s", ns/1e9)
	case ns >= 1e6:
		return fmt.Sprintf("%.1f ms", ns/1e6)
	}
	return fmt.Sprintf("%.0f µs", ns/1e3)
}

// processor is the machine's, as Linux calls it.
func processor() string {
	info, _ := os.ReadFile("/proc/cpuinfo")
	for line := range strings.Lines(string(info)) {
		if name, value, _ := strings.Cut(line, ":"); strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return runtime.GOARCH
}

// load is the machine's average of the last minute: what else it was doing.
func load() string {
	text, _ := os.ReadFile("/proc/loadavg")
	minute, _, _ := strings.Cut(string(text), " ")
	return minute
}
