package sandbox

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

const (
	// cgroupDeadline bounds the wait for the processes of a killed cgroup to be gone.
	cgroupDeadline = 10 * time.Second
	cgroupPoll     = 5 * time.Millisecond
	// maxMountinfo bounds the mount table that is searched for the cgroup file system.
	maxMountinfo = 4 << 20
)

// cgroup is the node's own control group: the root of what its systemd sees. Without it systemd would arrange the
// host's groups, and two nodes would find each other's services in theirs. It is also the one name that outlives a
// killed supervisor, by which the next one makes sure that the node before is gone.
type cgroup string

// nodeCgroup names the machine's cgroup: its state directory makes the name unique on the host.
func nodeCgroup(c Config) (cgroup, error) {
	file, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return "", fmt.Errorf("cannot read mount table: %w", err)
	}
	defer file.Close()
	mount, err := cgroupMount(io.LimitReader(file, maxMountinfo))
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256([]byte(c.State))
	return cgroup(filepath.Join(mount, "reroot-sandbox-"+c.Name+"-"+hex.EncodeToString(sum[:4]))), nil
}

// cgroupMount finds the unified hierarchy in a mount table, also beside version 1's (hybrid hosts).
func cgroupMount(mountinfo io.Reader) (string, error) {
	lines := bufio.NewScanner(mountinfo)
	for lines.Scan() {
		// ID, parent, device, root, mount point, options, optional fields, "-", type, source, super options.
		mount, super, _ := strings.Cut(lines.Text(), " - ")
		fields := strings.Fields(mount)
		if strings.HasPrefix(super, "cgroup2 ") && len(fields) > 4 {
			return fields[4], nil
		}
	}
	if err := lines.Err(); err != nil {
		return "", fmt.Errorf("cannot read mount table: %w", err)
	}
	return "", errors.New("cannot find a cgroup2 mount")
}

// create makes the cgroup and opens it for clone.
func (g cgroup) create() (*os.File, error) {
	if err := os.Mkdir(string(g), 0o755); err != nil {
		return nil, fmt.Errorf("cannot create cgroup: %w", err)
	}
	dir, err := os.Open(string(g))
	if err != nil {
		return nil, fmt.Errorf("cannot open cgroup: %w", err)
	}
	return dir, nil
}

// remove kills what is left in the cgroup, waits for it to be gone, and removes it. A cgroup that does not exist is
// removed already.
func (g cgroup) remove() error {
	if err := g.kill(); errors.Is(err, fs.ErrNotExist) {
		return nil
	} else if err != nil {
		return err
	}
	ticker := time.NewTicker(cgroupPoll)
	defer ticker.Stop()
	for deadline := time.Now().Add(cgroupDeadline); ; <-ticker.C {
		err := g.removeDirs()
		if err == nil {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("cannot remove cgroup: %w", err)
		}
	}
}

// kill ends every process of the cgroup at once.
func (g cgroup) kill() error {
	if err := os.WriteFile(filepath.Join(string(g), "cgroup.kill"), []byte("1"), 0o200); err != nil {
		return fmt.Errorf("cannot kill cgroup: %w", err)
	}
	return nil
}

// removeDirs removes the groups below first.
func (g cgroup) removeDirs() error {
	var dirs []string
	err := filepath.WalkDir(string(g), func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() {
			dirs = append(dirs, name)
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, dir := range slices.Backward(dirs) {
		if err := os.Remove(dir); err != nil {
			return err
		}
	}
	return nil
}
