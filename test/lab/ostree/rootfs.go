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

// Rootfs returns the directory of a Debian root file system that contains ostree, and builds it when it is not in the
// cache (${XDG_CACHE_HOME:-~/.cache}/reroot): one to two minutes and 100 MB of downloads, once per list of packages.
// What it does is told to log. Concurrent callers, also in other processes, wait for the one that builds.
func Rootfs(ctx context.Context, log io.Writer) (string, error) {
	digest, err := trixie.Packages.digest()
	if err != nil {
		return "", err
	}
	return cached(ctx, "rootfs-"+trixie.Packages.Suite+"-"+digest, func(dir string) error {
		if os.Geteuid() != 0 {
			return errors.New("cannot make a root file system: root is needed for device nodes and file owners")
		}
		if err := needPrograms(ctx, log); err != nil {
			return err
		}
		started := time.Now()
		fmt.Fprintf(log, "making a Debian %s root file system: one to two minutes, once\n", trixie.Packages.Suite)
		if err := program(ctx, log, mmdebstrap(trixie.Packages, dir)...); err != nil {
			return err
		}
		fmt.Fprintf(log, "root file system ready after %.0f s\n", time.Since(started).Seconds())
		return nil
	})
}

// cache is what sysroots are made from.
type cache struct {
	// rootfs is the root file system's directory, repo that of the ostree repository with base tree and variants.
	rootfs, repo string
}

// openCache returns the root file system and the repository with the base commit, which takes a few seconds to make.
func openCache(ctx context.Context, log io.Writer) (cache, error) {
	rootfs, err := Rootfs(ctx, log)
	if err != nil {
		return cache{}, err
	}
	digest, err := trixie.digest()
	if err != nil {
		return cache{}, err
	}
	repo, err := cached(ctx, "ostree-"+trixie.Packages.Suite+"-"+digest, func(dir string) error {
		fmt.Fprintln(log, "committing the base OS tree")
		return commitBase(ctx, rootfs, dir)
	})
	if err != nil {
		return cache{}, err
	}
	return cache{rootfs: rootfs, repo: repo}, nil
}

// cached returns a directory of the project's cache. Where it does not exist, build makes it beside the final place,
// so that what has the final name is complete.
func cached(ctx context.Context, name string, build func(dir string) error) (string, error) {
	base, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("cannot find cache directory: %w", err)
	}
	dir := filepath.Join(base, "reroot", name)
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return "", fmt.Errorf("cannot create cache directory: %w", err)
	}
	unlock, err := lockFile(ctx, dir+".lock")
	if err != nil {
		return "", err
	}
	defer unlock()
	if _, err := os.Stat(dir); err == nil {
		return dir, nil
	}
	work := dir + ".partial"
	if err := os.RemoveAll(work); err != nil {
		return "", fmt.Errorf("cannot remove unfinished cache: %w", err)
	}
	if err := build(work); err != nil {
		return "", fmt.Errorf("cannot build %s: %w", dir, err)
	}
	if err := os.Rename(work, dir); err != nil {
		return "", fmt.Errorf("cannot keep cache: %w", err)
	}
	return dir, nil
}

// mmdebstrap returns the argument vector that installs the packages into dir.
func mmdebstrap(p packages, dir string) []string {
	argv := []string{"mmdebstrap", "--variant=minbase", "--mode=root", "--aptopt=APT::Install-Recommends \"false\""}
	for _, pattern := range p.Exclude {
		argv = append(argv, "--dpkgopt=path-exclude="+pattern)
	}
	return append(argv, "--include="+strings.Join(p.Names, ","), p.Suite, dir)
}

// needPrograms installs what makes a root file system, where it is missing. Without mount, mmdebstrap makes one whose
// packages were configured without /dev and /proc.
func needPrograms(ctx context.Context, log io.Writer) error {
	var missing []string
	for _, name := range []string{"mmdebstrap", "mount"} { // programs, and their packages
		if _, err := exec.LookPath(name); err != nil {
			missing = append(missing, name)
		}
	}
	if len(missing) == 0 {
		return nil
	}
	fmt.Fprintf(log, "installing %s with apt-get: about 15 seconds, once\n", strings.Join(missing, " and "))
	if err := program(ctx, log, "apt-get", "update", "-q"); err != nil {
		return err
	}
	return program(ctx, log, append([]string{"apt-get", "install", "-q", "-y", "--no-install-recommends", "debian-archive-keyring"}, missing...)...)
}

// commitBase shapes a copy of the root file system into an OS tree and commits it to a new repository.
func commitBase(ctx context.Context, rootfs, repo string) error {
	ostree, err := newTool(rootfs)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp(filepath.Dir(repo), "tree-")
	if err != nil {
		return fmt.Errorf("cannot create OS tree: %w", err)
	}
	defer os.RemoveAll(dir)
	tree := filepath.Join(dir, "tree")
	if err := program(ctx, io.Discard, "cp", "-a", rootfs, tree); err != nil {
		return err
	}
	if err := shape(tree, trixie); err != nil {
		return fmt.Errorf("cannot shape OS tree: %w", err)
	}
	if err := os.Mkdir(repo, 0o755); err != nil {
		return fmt.Errorf("cannot create repository: %w", err)
	}
	if _, err := ostree.run(ctx, "init", "--repo="+repo, "--mode=bare"); err != nil {
		return err
	}
	_, err = ostree.run(ctx, "commit", "--repo="+repo, "--branch="+baseRef, "--tree=dir="+tree, "--subject=lab base", "--disable-fsync")
	return err
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
