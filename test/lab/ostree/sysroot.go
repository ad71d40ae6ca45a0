package ostree

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"
)

// immutableFlag is FS_IMMUTABLE_FL of linux/fs.h.
const immutableFlag = 0x10

// Sysroot is a real ostree sysroot in a directory.
type Sysroot struct {
	// Dir holds ostree/ and boot/.
	Dir string

	cache  cache
	ostree tool
}

// DeployOptions describe one deployment.
type DeployOptions struct {
	// Stateroot is created when it does not exist.
	Stateroot string
	// Tree is the operating system to deploy.
	Tree Tree
	// Kargs are the kernel arguments, each as name or name=value; ostree adds its own ostree= argument.
	Kargs []string
	// Etc, when set, is a directory that is copied over the deployment's /etc.
	Etc string
	// Var, when set, is a directory that is copied over the stateroot's /var.
	Var string
}

// Deployment is a deployed commit.
type Deployment struct {
	Stateroot string
	Commit    string
	// Dir is the deployment's root on the host; its /etc may be written, the rest not.
	Dir string
	// Var is the stateroot's /var on the host.
	Var string
}

// NewSysroot makes an empty sysroot in dir, which is created when it does not exist. Booted nodes have it mounted
// read-only (sysroot.readonly), as OKD's nodes do. On the cache's file system its
// deployments share their files with the cache by hard links: whatever writes into an object of the repository
// spoils the cache too.
func NewSysroot(ctx context.Context, log io.Writer, dir string) (*Sysroot, error) {
	c, err := openCache(ctx, log)
	if err != nil {
		return nil, err
	}
	ostree, err := newTool(c.rootfs)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("cannot create sysroot: %w", err)
	}
	if _, err := ostree.run(ctx, "admin", "init-fs", "--modern", dir); err != nil {
		return nil, err
	}
	if _, err := ostree.run(ctx, "config", "--repo="+filepath.Join(dir, "ostree/repo"), "set", "sysroot.readonly", "true"); err != nil {
		return nil, err
	}
	return &Sysroot{Dir: dir, cache: c, ostree: ostree}, nil
}

// Deploy deploys the tree; the newest deployment is the one that boots next. Earlier deployments stay.
func (s *Sysroot) Deploy(ctx context.Context, options DeployOptions) (*Deployment, error) {
	commit, err := s.cache.commit(ctx, s.ostree, options.Tree)
	if err != nil {
		return nil, err
	}
	if _, err := s.ostree.run(ctx, "pull-local", "--disable-fsync", "--repo="+filepath.Join(s.Dir, "ostree/repo"), s.cache.repo, commit); err != nil {
		return nil, err
	}
	stateroot := filepath.Join(s.Dir, "ostree/deploy", options.Stateroot)
	if _, err := os.Stat(stateroot); errors.Is(err, fs.ErrNotExist) {
		if _, err := s.ostree.run(ctx, "admin", "stateroot-init", "--sysroot="+s.Dir, options.Stateroot); err != nil {
			return nil, err
		}
	}
	before, err := filepath.Glob(filepath.Join(stateroot, "deploy", commit+".*"))
	if err != nil {
		return nil, err
	}
	args := []string{"admin", "deploy", "--sysroot=" + s.Dir, "--os=" + options.Stateroot, "--no-prune", "--no-merge"}
	for _, karg := range options.Kargs {
		args = append(args, "--karg-append="+karg)
	}
	if _, err := s.ostree.run(ctx, append(args, commit)...); err != nil {
		return nil, err
	}
	dir, err := newDeployment(filepath.Join(stateroot, "deploy"), commit, before)
	if err != nil {
		return nil, err
	}
	deployment := &Deployment{Stateroot: options.Stateroot, Commit: commit, Dir: dir, Var: filepath.Join(stateroot, "var")}
	return deployment, deployment.fill(ctx, options)
}

// fill copies the overlays of /etc and /var.
func (d *Deployment) fill(ctx context.Context, options DeployOptions) error {
	for _, overlay := range []struct{ from, to string }{
		{options.Etc, filepath.Join(d.Dir, "etc")},
		{options.Var, d.Var},
	} {
		if overlay.from == "" {
			continue
		}
		if err := program(ctx, io.Discard, "cp", "-a", overlay.from+"/.", overlay.to+"/"); err != nil {
			return err
		}
	}
	return nil
}

// newDeployment finds the directory <commit>.<serial> that was not there before.
func newDeployment(dir, commit string, before []string) (string, error) {
	names, err := filepath.Glob(filepath.Join(dir, commit+".*"))
	if err != nil {
		return "", err
	}
	for _, name := range names {
		info, err := os.Stat(name)
		if err == nil && info.IsDir() && !slices.Contains(before, name) {
			return name, nil
		}
	}
	return "", fmt.Errorf("cannot find new deployment of %s in %s", commit, dir)
}

// Ostree runs the cache's ostree with these arguments, for instance to look at the sysroot; it returns the trimmed
// standard output.
func (s *Sysroot) Ostree(ctx context.Context, args ...string) (string, error) {
	return s.ostree.run(ctx, args...)
}

// RemoveSysroot removes the directory and all that is below it. ostree makes the roots of deployments immutable,
// which os.RemoveAll alone cannot get over. A directory that does not exist is removed already.
func RemoveSysroot(dir string) error {
	roots, err := filepath.Glob(filepath.Join(dir, "ostree/deploy/*/deploy/*"))
	if err != nil {
		return fmt.Errorf("cannot list deployments: %w", err)
	}
	for _, root := range roots {
		if err := makeMutable(root); err != nil {
			return fmt.Errorf("cannot make %s mutable: %w", root, err)
		}
	}
	if err := os.RemoveAll(dir); err != nil {
		return fmt.Errorf("cannot remove sysroot: %w", err)
	}
	return nil
}

// makeMutable clears the immutable flag of a directory; anything else has none.
func makeMutable(name string) error {
	file, err := os.Open(name)
	if err != nil {
		return err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil || !info.IsDir() {
		return err
	}
	flags, err := unix.IoctlGetInt(int(file.Fd()), unix.FS_IOC_GETFLAGS)
	if errors.Is(err, unix.ENOTTY) || errors.Is(err, unix.EOPNOTSUPP) {
		return nil
	}
	if err != nil || flags&immutableFlag == 0 {
		return err
	}
	return unix.IoctlSetPointerInt(int(file.Fd()), unix.FS_IOC_SETFLAGS, flags&^immutableFlag)
}
