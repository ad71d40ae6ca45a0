package hosttest

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// rootfs returns a Debian 13 tree that holds ostree, made once and kept in the cache.
func rootfs(ctx context.Context, log func(string, ...any)) (string, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	dir := filepath.Join(cache, "reroot", "rootfs-ostree")
	if _, err := os.Stat(dir); err == nil {
		return dir, nil
	}
	log("making %s with mmdebstrap: about a minute, once", dir)
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return "", err
	}
	tmp := fmt.Sprintf("%s.%d", dir, os.Getpid())
	defer os.RemoveAll(tmp)
	out, err := exec.CommandContext(ctx, "mmdebstrap", "--variant=minbase", "--include=ostree", "trixie", tmp).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("cannot make a root file system with ostree: %w\n%s", err, out)
	}
	if err := os.Rename(tmp, dir); err != nil && !os.IsExist(err) {
		return "", err
	}
	return dir, nil
}
