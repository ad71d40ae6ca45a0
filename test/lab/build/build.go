// Package build makes the executables that the lab runs.
//
// Two kinds, by how often they change:
//
//   - [Binaries]: the third-party programs (a control plane, etcds, Velero and its
//     object store). Each is a small module of its own,
//     since their dependencies contradict ours and each other's. They take
//     minutes to compile and never change between two runs, so each is kept in
//     the cache under a name that contains the hash of everything it is made of.
//   - [Program]: this module's own programs, which change all the time. They are
//     built on every call; Go's own cache makes that quick.
//
// Everything is static (CGO_ENABLED=0): the same file runs on the build host and
// inside a node's root.
package build

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// ModulePath is the module that the lab belongs to.
const ModulePath = "github.com/reroot-dev/reroot"

// The GOFLAGS of each kind. Those of this module are the Makefile's: others would
// compile every dependency once more.
const (
	binaryFlags  = "-buildvcs=false"
	programFlags = "-buildvcs=false -tags=containers_image_openpgp,exclude_graphdriver_btrfs,exclude_graphdriver_devicemapper"
)

// stderrLimit bounds how much of a failed build's output an error quotes, in bytes.
const stderrLimit = 4 << 10

// Names lists what [Binaries] can build.
func Names() []string {
	names := make([]string, len(recipes))
	for i, r := range recipes {
		names[i] = r.name
	}
	return names
}

// Binaries returns the path of each named third-party executable (see [Names])
// and builds those that the cache lacks.
//
// The cache is ${XDG_CACHE_HOME:-~/.cache}/reroot/bin; nothing in it is missed when
// removed. An executable appears in it complete or not at all, and of several runs
// that miss the same one, only one builds it. What is built, and how long that
// takes, is written to log. The working directory must be inside the repository.
func Binaries(ctx context.Context, log io.Writer, names ...string) (map[string]string, error) {
	root, err := repository()
	if err != nil {
		return nil, err
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return nil, fmt.Errorf("cannot find the cache: %w", err)
	}
	cache = filepath.Join(cache, "reroot", "bin")
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return nil, fmt.Errorf("cannot make the cache: %w", err)
	}
	toolchain, err := run(ctx, root, binaryFlags, "env", "GOVERSION", "GOOS", "GOARCH")
	if err != nil {
		return nil, err
	}
	paths := make(map[string]string, len(names))
	for _, name := range names {
		i := slices.IndexFunc(recipes, func(r recipe) bool { return r.name == name })
		if i < 0 {
			return nil, fmt.Errorf("cannot build %s: no such binary", name)
		}
		r := recipes[i]
		hash, err := r.hash(root, toolchain)
		if err != nil {
			return nil, fmt.Errorf("cannot hash the sources of %s: %w", name, err)
		}
		paths[name] = filepath.Join(cache, name+"-"+hash)
		if err := r.ensure(ctx, log, root, paths[name]); err != nil {
			return nil, fmt.Errorf("cannot build %s: %w", name, err)
		}
	}
	return paths, nil
}

// Program builds the main package importPath of this module as the file out, with
// further build tags if there are any. The working directory must be inside the
// repository.
func Program(ctx context.Context, importPath, out string, tags ...string) error {
	root, err := repository()
	if err != nil {
		return err
	}
	if out, err = filepath.Abs(out); err != nil {
		return fmt.Errorf("cannot build %s: %w", importPath, err)
	}
	if _, err := run(ctx, root, strings.Join(append([]string{programFlags}, tags...), ","), "build", "-o", out, importPath); err != nil {
		return fmt.Errorf("cannot build %s: %w", importPath, err)
	}
	return nil
}

// ensure builds r as the file path unless it is there, under a lock that it
// shares with every other run.
func (r recipe) ensure(ctx context.Context, log io.Writer, root, path string) error {
	if exists(path) {
		return nil
	}
	unlock, err := lock(ctx, filepath.Join(filepath.Dir(path), r.name+".lock"), func() {
		fmt.Fprintf(log, "waiting for another run that builds %s\n", r.name)
	})
	if err != nil {
		return err
	}
	defer unlock()
	if exists(path) { // the run that held the lock built it
		return nil
	}
	fmt.Fprintf(log, "building %s (%s): about %s on two cores, once\n", r.name, r.what, r.takes)
	start := time.Now()
	unfinished := path + ".tmp"
	if _, err := run(ctx, filepath.Join(root, r.module), binaryFlags, r.arguments(unfinished)...); err != nil {
		return errors.Join(err, os.RemoveAll(unfinished))
	}
	if err := os.Rename(unfinished, path); err != nil {
		return err
	}
	fmt.Fprintf(log, "built %s in %s\n", r.name, time.Since(start).Round(time.Second))
	return nil
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// repository returns the directory of the go.mod that says ModulePath, at or
// above the working directory. Nested modules on the way are passed by.
func repository() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", fmt.Errorf("cannot find the repository: %w", err)
	}
	for start := dir; ; dir = filepath.Dir(dir) {
		data, err := os.ReadFile(filepath.Join(dir, "go.mod"))
		if err == nil && strings.HasPrefix(string(data), "module "+ModulePath+"\n") {
			return dir, nil
		}
		if dir == filepath.Dir(dir) {
			return "", fmt.Errorf("cannot find the repository: %s is not inside module %s", start, ModulePath)
		}
	}
}

// run runs the go command in dir with the given GOFLAGS and returns its standard
// output. An error carries the end of its standard error.
func run(ctx context.Context, dir, flags string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "PWD="+dir, "CGO_ENABLED=0", "GOWORK=off", "GOFLAGS="+flags)
	// An interrupted go command removes its work directory, a killed one does not.
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 10 * time.Second
	var stdout, stderr strings.Builder
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		said := strings.TrimSpace(stderr.String())
		if len(said) > stderrLimit {
			said = "... " + said[len(said)-stderrLimit:]
		}
		return "", fmt.Errorf("go %s: %w\n%s", args[0], err, said)
	}
	return stdout.String(), nil
}
