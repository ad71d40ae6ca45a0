package build_test

import (
	"context"
	"debug/elf"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/reroot-dev/reroot/test/lab/build"
)

// Each binary is what its name and recipe say, whichever run built it.
func TestBinariesSayTheirVersion(t *testing.T) {
	versions := []struct {
		name string
		args []string
		want string
	}{
		{"hyperkube", []string{"kube-apiserver", "--version"}, "Kubernetes v1.37.2"},
		{"hyperkube", []string{"kube-controller-manager", "--version"}, "Kubernetes v1.37.2"},
		{"etcd-3.5", []string{"--version"}, "etcd Version: 3.5.21"},
		{"etcd-3.6", []string{"--version"}, "etcd Version: 3.6.6"},
		{"etcd-3.7", []string{"--version"}, "etcd Version: 3.7.3"},
		{"velero", []string{"version", "--client-only"}, "Version: v1.18.3"},
	}
	paths, err := build.Binaries(t.Context(), t.Output(), build.Names()...)
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range versions {
		t.Run(v.name+" "+v.args[0], func(t *testing.T) {
			out, err := exec.CommandContext(t.Context(), paths[v.name], v.args...).CombinedOutput()
			if err != nil || !strings.Contains(string(out), v.want) {
				t.Errorf("%v said %q (%v), want %q", v.args, out, err, v.want)
			}
		})
	}
	for name, path := range paths {
		assertStatic(t, name, path)
	}
}

// emptyCache gives the test a cache without binaries, but Go's own cache, so
// that what is built here takes seconds.
func emptyCache(t *testing.T) (bin string) {
	t.Helper()
	goCache, err := exec.CommandContext(t.Context(), "go", "env", "GOCACHE").Output()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	t.Setenv("GOCACHE", strings.TrimSpace(string(goCache)))
	t.Setenv("XDG_CACHE_HOME", dir)
	return filepath.Join(dir, "reroot", "bin")
}

func TestBinariesAreBuiltOnce(t *testing.T) {
	emptyCache(t)
	var log, again strings.Builder
	first, err := build.Binaries(t.Context(), &log, "s3")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(log.String(), "building s3 (gofakes3 v1.2.0): about") {
		t.Errorf("log %q does not say what is built and how long it takes", log.String())
	}
	second, err := build.Binaries(t.Context(), &again, "s3")
	if err != nil {
		t.Fatal(err)
	}
	if first["s3"] != second["s3"] || again.String() != "" {
		t.Errorf("the second run made %s and said %q, want %s and nothing", second["s3"], again.String(), first["s3"])
	}
}

func TestBinariesShareOneBuild(t *testing.T) {
	emptyCache(t)
	var runs sync.WaitGroup
	logs := make([]strings.Builder, 3)
	for i := range logs {
		runs.Go(func() {
			if _, err := build.Binaries(t.Context(), &logs[i], "s3"); err != nil {
				t.Error(err)
			}
		})
	}
	runs.Wait()
	built := 0
	for i := range logs {
		built += strings.Count(logs[i].String(), "building s3")
	}
	if built != 1 {
		t.Errorf("built %d times by %d runs, want once", built, len(logs))
	}
}

// A killed run leaves its lock file, without the lock, and an unfinished file.
func TestAKilledRunIsNoObstacle(t *testing.T) {
	emptyCache(t)
	built, err := build.Binaries(t.Context(), t.Output(), "s3")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(built["s3"], built["s3"]+".tmp"); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(built["s3"]+".tmp", 100); err != nil {
		t.Fatal(err)
	}
	built, err = build.Binaries(t.Context(), t.Output(), "s3")
	if err != nil {
		t.Fatal(err)
	}
	assertStatic(t, "s3", built["s3"])
}

func TestAnInterruptedBuildLeavesNothing(t *testing.T) {
	bin := emptyCache(t)
	ctx, cancel := context.WithCancel(t.Context())
	_, err := build.Binaries(ctx, writerFunc(cancel), "s3") // the first line of the log ends it
	if err == nil || !errors.Is(ctx.Err(), context.Canceled) {
		t.Fatalf("error %v, want the build to end with its context", err)
	}
	entries, err := os.ReadDir(bin)
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		if entry.Name() != "s3.lock" {
			t.Errorf("%s is left in the cache", entry.Name())
		}
	}
}

type writerFunc func()

func (f writerFunc) Write(p []byte) (int, error) { f(); return len(p), nil }

func TestErrors(t *testing.T) {
	t.Run("unknown binary", func(t *testing.T) {
		_, err := build.Binaries(t.Context(), t.Output(), "minio")
		assertError(t, err, "cannot build minio: no such binary")
	})
	t.Run("unknown program", func(t *testing.T) {
		err := build.Program(t.Context(), build.ModulePath+"/test/lab/nothing", filepath.Join(t.TempDir(), "nothing"))
		assertError(t, err, "cannot build "+build.ModulePath+"/test/lab/nothing: go build: ")
	})
	t.Run("outside the repository", func(t *testing.T) {
		t.Chdir(t.TempDir())
		_, err := build.Binaries(t.Context(), t.Output(), "s3")
		assertError(t, err, "cannot find the repository: ")
	})
}

func TestProgram(t *testing.T) {
	out := filepath.Join(t.TempDir(), "lab-build")
	if err := build.Program(t.Context(), build.ModulePath+"/test/lab/build/cmd/lab-build", out); err != nil {
		t.Fatal(err)
	}
	assertStatic(t, "lab-build", out)
}

func assertError(t *testing.T, err error, want string) {
	t.Helper()
	if err == nil || !strings.HasPrefix(err.Error(), want) {
		t.Errorf("error %v, want %q", err, want)
	}
}

// assertStatic checks that a program needs no dynamic linker, which a node's
// root may have at another path or not at all.
func assertStatic(t *testing.T, name, path string) {
	t.Helper()
	file, err := elf.Open(path)
	if err != nil {
		t.Errorf("%s: %v", name, err)
		return
	}
	defer func() { _ = file.Close() }()
	for _, segment := range file.Progs {
		if segment.Type == elf.PT_INTERP {
			t.Errorf("%s is not static", name)
		}
	}
}
