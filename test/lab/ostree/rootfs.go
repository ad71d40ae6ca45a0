package ostree

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// lockPoll is how often a waiting process asks again whether another one has finished building the cache.
const lockPoll = 200 * time.Millisecond

// baseRef is the branch of the base commit in the cached repository.
const baseRef = "lab/base"

// cache is one built recipe: <cache directory>/rootfs-<suite>-<digest>/{rootfs,repo}.
type cache struct {
	dir string
}

func (c cache) rootfs() string { return filepath.Join(c.dir, "rootfs") }
func (c cache) repo() string   { return filepath.Join(c.dir, "repo") }

// Rootfs returns the directory of a Debian root file system that contains ostree, and builds it when it is not in the
// cache (${XDG_CACHE_HOME:-~/.cache}/reroot): about 90 seconds and 100 MB of downloads, once per recipe. What it does
// is told to log. Concurrent callers, also in other processes, wait for the one that builds.
func Rootfs(ctx context.Context, log io.Writer) (string, error) {
	c, err := openCache(ctx, log)
	if err != nil {
		return "", err
	}
	return c.rootfs(), nil
}

// openCache returns the built cache of the trixie recipe.
func openCache(ctx context.Context, log io.Writer) (cache, error) {
	digest, err := trixie.digest()
	if err != nil {
		return cache{}, err
	}
	base, err := os.UserCacheDir()
	if err != nil {
		return cache{}, fmt.Errorf("cannot find cache directory: %w", err)
	}
	c := cache{dir: filepath.Join(base, "reroot", "rootfs-"+trixie.Suite+"-"+digest)}
	if err := os.MkdirAll(filepath.Dir(c.dir), 0o755); err != nil {
		return cache{}, fmt.Errorf("cannot create cache directory: %w", err)
	}
	unlock, err := lockFile(ctx, c.dir+".lock")
	if err != nil {
		return cache{}, err
	}
	defer unlock()
	if _, err := os.Stat(c.dir); err == nil {
		return c, nil
	}
	if err := c.build(ctx, log, trixie); err != nil {
		return cache{}, fmt.Errorf("cannot build %s root file system: %w", trixie.Suite, err)
	}
	return c, nil
}

// build makes the cache in a directory beside the final one and renames it: what has the final name is complete.
func (c cache) build(ctx context.Context, log io.Writer, r recipe) error {
	if os.Geteuid() != 0 {
		return errors.New("root is needed to make device nodes and file owners")
	}
	if err := needMmdebstrap(ctx, log); err != nil {
		return err
	}
	work := cache{dir: c.dir + ".partial"}
	if err := os.RemoveAll(work.dir); err != nil {
		return err
	}
	if err := os.MkdirAll(work.dir, 0o755); err != nil {
		return err
	}
	started := time.Now()
	fmt.Fprintf(log, "making a Debian %s root file system in %s: about 90 seconds, once\n", r.Suite, c.dir)
	if err := program(ctx, log, mmdebstrap(r, work.rootfs())...); err != nil {
		return err
	}
	fmt.Fprintln(log, "committing the base OS tree")
	if err := work.commitBase(ctx, r); err != nil {
		return err
	}
	if err := os.Rename(work.dir, c.dir); err != nil {
		return err
	}
	fmt.Fprintf(log, "root file system and base OS tree ready after %.0f s\n", time.Since(started).Seconds())
	return nil
}

// mmdebstrap returns the argument vector that installs the recipe's packages into dir.
func mmdebstrap(r recipe, dir string) []string {
	argv := []string{"mmdebstrap", "--variant=minbase", "--mode=root", "--aptopt=APT::Install-Recommends \"false\""}
	for _, pattern := range r.ExcludeOnUnpack {
		argv = append(argv, "--dpkgopt=path-exclude="+pattern)
	}
	return append(argv, "--include="+strings.Join(r.Packages, ","), r.Suite, dir)
}

// needMmdebstrap installs mmdebstrap where it is missing.
func needMmdebstrap(ctx context.Context, log io.Writer) error {
	if _, err := exec.LookPath("mmdebstrap"); err == nil {
		return nil
	}
	fmt.Fprintln(log, "installing mmdebstrap with apt-get: about 15 seconds, once")
	if err := program(ctx, log, "apt-get", "update", "-q"); err != nil {
		return err
	}
	return program(ctx, log, "apt-get", "install", "-q", "-y", "--no-install-recommends", "mmdebstrap", "debian-archive-keyring")
}

// commitBase shapes a copy of the root file system into an OS tree and commits it to a new repository.
func (c cache) commitBase(ctx context.Context, r recipe) error {
	ostree, err := newTool(c.rootfs())
	if err != nil {
		return err
	}
	tree := filepath.Join(c.dir, "tree")
	if err := program(ctx, io.Discard, "cp", "-a", c.rootfs(), tree); err != nil {
		return err
	}
	if err := shape(tree, r); err != nil {
		return fmt.Errorf("cannot shape OS tree: %w", err)
	}
	if _, err := ostree.run(ctx, "init", "--repo="+c.repo(), "--mode=bare"); err != nil {
		return err
	}
	if _, err := ostree.run(ctx, "commit", "--repo="+c.repo(), "--branch="+baseRef, "--tree=dir="+tree,
		"--subject=lab base", "--disable-fsync"); err != nil {
		return err
	}
	return os.RemoveAll(tree)
}

// lockFile takes an exclusive lock on the file and returns what releases it. The kernel drops the lock of a process
// that dies.
func lockFile(ctx context.Context, name string) (func(), error) {
	file, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE|unix.O_CLOEXEC, 0o644)
	if err != nil {
		return nil, fmt.Errorf("cannot open lock file: %w", err)
	}
	ticker := time.NewTicker(lockPoll)
	defer ticker.Stop()
	for {
		err := unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return func() { _ = file.Close() }, nil
		}
		if !errors.Is(err, unix.EWOULDBLOCK) {
			_ = file.Close()
			return nil, fmt.Errorf("cannot lock %s: %w", name, err)
		}
		select {
		case <-ctx.Done():
			_ = file.Close()
			return nil, fmt.Errorf("cannot lock %s: %w", name, ctx.Err())
		case <-ticker.C:
		}
	}
}
