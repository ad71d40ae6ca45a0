package main

import (
	"bufio"
	"context"
	stdcrypto "crypto"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/reroot-dev/reroot/node-executor/crypto"
	"github.com/reroot-dev/reroot/node-executor/crypto/cryptotest"
	"github.com/reroot-dev/reroot/node-executor/crypto/cryptotest/fixture"
	"github.com/reroot-dev/reroot/node-executor/crypto/pki"
)

// childVariable makes this program regenerate a cluster in place of running tests: memory and processor time are a
// process's, and should be of one that does nothing else.
const childVariable = "REROOT_BENCH_REGENERATE"

func TestMain(m *testing.M) {
	place := os.Getenv(childVariable)
	if place == "" {
		os.Exit(m.Run())
	}
	if err := regenerateAlone(place); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

// order is what a child is to do.
type order struct {
	Place fixture.Place
	// Cached takes keys from the cache, so that what is measured is everything but making them.
	Cached bool
}

// cost is what it took.
type cost struct {
	Wall      time.Duration
	CPU       time.Duration // of the process
	Etcd      time.Duration // processor time of the etcd that it started
	PeakBytes int64         // VmHWM
	Read      int64         // bytes
	Made      []pki.Algorithm
}

// regenerateAlone is the child: it prints its cost.
func regenerateAlone(text string) error {
	var o order
	if err := json.Unmarshal([]byte(text), &o); err != nil {
		return err
	}
	var c cost
	var mu sync.Mutex
	generate := pki.Generate
	if o.Cached {
		keys := cryptotest.NewKeys("fresh")
		if err := keys.Load(); err != nil {
			return err
		}
		generate = keys.Make
	}
	config := o.Place.Config()
	config.Generate = func(a pki.Algorithm) (stdcrypto.Signer, error) {
		mu.Lock()
		c.Made = append(c.Made, a)
		mu.Unlock()
		return generate(a)
	}
	debug.SetMemoryLimit(crypto.MemoryLimit) // as the command does
	before, start := used(syscall.RUSAGE_SELF), time.Now()
	summary, err := crypto.Regenerate(context.Background(), config)
	if err != nil {
		return err
	}
	c.Wall, c.CPU, c.Etcd = time.Since(start), used(syscall.RUSAGE_SELF)-before, used(syscall.RUSAGE_CHILDREN)
	c.Read = summary.BytesRead
	if c.PeakBytes, err = peakMemory(); err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(c)
}

func used(who int) time.Duration {
	var usage syscall.Rusage
	if err := syscall.Getrusage(who, &usage); err != nil {
		return 0
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

// peakMemory is the most that this process has had in memory, in bytes.
func peakMemory() (int64, error) {
	f, err := os.Open("/proc/self/status")
	if err != nil {
		return 0, err
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		if value, ok := strings.CutPrefix(s.Text(), "VmHWM:"); ok {
			kib, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 10, 64)
			return kib << 10, err
		}
	}
	return 0, fmt.Errorf("cannot find VmHWM")
}

// generated returns a cluster of a size, which the first of several processes makes and which stays as it is.
func generated(b *testing.B, size int) fixture.Place {
	b.Helper()
	dir := os.Getenv(dirVariable)
	if dir == "" {
		dir = b.TempDir()
	}
	dir = filepath.Join(dir, fmt.Sprint("cluster-", size))
	order := filepath.Join(dir, "place.json")
	if text, err := os.ReadFile(order); err == nil {
		var p fixture.Place
		if err := json.Unmarshal(text, &p); err != nil {
			b.Fatal(err)
		}
		return p
	}
	p := fixture.New(b, fixture.Options{Size: size, Seed: 1, Name: "seed", NewKey: cryptotest.NewKeys("seed").Make}).Place("")
	p = copied(b, p, dir)
	text, err := json.Marshal(p)
	if err != nil {
		b.Fatal(err)
	}
	if err := os.WriteFile(order, text, 0o600); err != nil {
		b.Fatal(err)
	}
	return p
}

// copied copies a cluster into a directory.
func copied(b *testing.B, p fixture.Place, dir string) fixture.Place {
	b.Helper()
	if err := os.MkdirAll(dir, 0o700); err != nil {
		b.Fatal(err)
	}
	for name, from := range map[string]*string{"etc": &p.Etc, "var": &p.Var} {
		to := filepath.Join(dir, name)
		if out, err := exec.CommandContext(b.Context(), "cp", "-a", *from, to).CombinedOutput(); err != nil {
			b.Fatalf("cannot copy the cluster: %v: %s", err, out)
		}
		*from = to
	}
	p.Scratch = dir
	syscall.Sync() // what is written later is not to be measured
	takeBackMemory(b)
	return p
}

// takeBackMemory touches a gibibyte and frees it again. What a virtual machine has not used for some seconds its host may have
// taken away, and to get it back takes many times as long as to use it: that would be measured in place of what is done with it.
func takeBackMemory(b *testing.B) {
	b.Helper()
	memory, err := unix.Mmap(-1, 0, 1<<30, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	if err != nil {
		b.Fatal(err)
	}
	_ = unix.Madvise(memory, unix.MADV_HUGEPAGE) // it is only quicker
	for at := 0; at < len(memory); at += os.Getpagesize() {
		memory[at] = 1
	}
	if err := unix.Munmap(memory); err != nil {
		b.Fatal(err)
	}
}

// regenerate has a child regenerate a copy of a cluster.
func regenerate(b *testing.B, size int, cached bool) (c cost) {
	b.Helper()
	text, err := json.Marshal(order{Place: copied(b, generated(b, size), b.TempDir()), Cached: cached})
	if err != nil {
		b.Fatal(err)
	}
	child := exec.CommandContext(b.Context(), os.Args[0])
	child.Env = append(os.Environ(), childVariable+"="+string(text))
	child.Stderr = os.Stderr
	out, err := child.Output()
	if err != nil {
		b.Fatal(err)
	}
	if err := json.Unmarshal(out, &c); err != nil {
		b.Fatal(err)
	}
	return c
}

func report(b *testing.B, c cost) {
	b.ReportMetric(float64(c.Wall), "ns/op")
	b.ReportMetric(float64((c.CPU + c.Etcd).Milliseconds()), "cpu-ms")
	b.ReportMetric(float64(c.Etcd.Milliseconds()), "etcd-cpu-ms")
	b.ReportMetric(float64(c.PeakBytes)/(1<<20), "peak-MiB")
	b.ReportMetric(float64(c.Read)/(1<<20), "read-MiB")
	b.ReportMetric(float64(len(c.Made)), "keys")
}

// made are the kinds of the keys that the last regeneration made.
var made []pki.Algorithm

// BenchmarkRegenerate regenerates the cryptography of a generated cluster of a single node's size, files and etcd, with the
// etcd of its own minor version started and stopped on the way.
func BenchmarkRegenerate(b *testing.B) {
	for b.Loop() {
		c := regenerate(b, 1, false)
		made = c.Made
		report(b, c)
	}
}

// BenchmarkRest does the same with keys that are there already.
func BenchmarkRest(b *testing.B) {
	for b.Loop() {
		report(b, regenerate(b, 1, true))
	}
}

// BenchmarkRest3 does it on a cluster with three times the certificates, tokens, files and keys of etcd.
func BenchmarkRest3(b *testing.B) {
	for b.Loop() {
		report(b, regenerate(b, 3, true))
	}
}

// BenchmarkRest10 does it with ten times as many.
func BenchmarkRest10(b *testing.B) {
	for b.Loop() {
		report(b, regenerate(b, 10, true))
	}
}

// BenchmarkKeys makes the keys that the regeneration made, on all processors, and does nothing else: the time that no
// engine can do without.
func BenchmarkKeys(b *testing.B) {
	if len(made) == 0 {
		b.Skip("BenchmarkRegenerate has to run before, in the same process")
	}
	for b.Loop() {
		before := used(syscall.RUSAGE_SELF)
		var group errgroup.Group
		group.SetLimit(runtime.GOMAXPROCS(0))
		for _, a := range made {
			group.Go(func() error {
				_, err := pki.Generate(a)
				return err
			})
		}
		if err := group.Wait(); err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(float64((used(syscall.RUSAGE_SELF) - before).Milliseconds()), "cpu-ms")
	}
}

// BenchmarkRecertKeys makes what recert makes in every run before it does anything else, in the way that it does: 120 RSA
// keys of 2048 bits and 10 of 4096, each by an openssl of its own. Recert also sleeps a second for each of them, which is
// left out here.
func BenchmarkRecertKeys(b *testing.B) {
	takeBackMemory(b)
	for b.Loop() {
		before := used(syscall.RUSAGE_CHILDREN)
		var group errgroup.Group
		group.SetLimit(runtime.GOMAXPROCS(0))
		for i := range 130 {
			bits := "2048"
			if i < 10 {
				bits = "4096"
			}
			group.Go(func() error { return exec.CommandContext(b.Context(), "openssl", "genrsa", bits).Run() })
		}
		if err := group.Wait(); err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(float64((used(syscall.RUSAGE_CHILDREN) - before).Milliseconds()), "cpu-ms")
	}
}

func needRoot(b *testing.B) {
	b.Helper()
	if os.Geteuid() != 0 {
		b.Skip("the lab's nodes can be made by root only")
	}
}
