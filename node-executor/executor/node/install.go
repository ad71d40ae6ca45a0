package node

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/reroot-dev/reroot/node-executor/host"
	"github.com/reroot-dev/reroot/node-executor/step"
	"github.com/reroot-dev/reroot/node-executor/step/etc"
)

// Names in the state directory.
const (
	program    = "bin/reroot-node"
	programSum = "bin/reroot-node.sha256"
)

// InstallOptions say where to install.
type InstallOptions struct {
	Etc    string // the root's /etc
	State  string // the state directory, as seen from here
	Config string // a node.yaml to install; "" keeps the one that is there
}

// Install puts the running program and its configuration into the state directory and the units into a root's /etc,
// enabled. It may be repeated; while an upgrade is under way it refuses to exchange the program, since one and the same
// must serve both roots.
func Install(o InstallOptions) error {
	if err := unlockSysroot(o.State); err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Join(o.State, "bin"), 0o755); err != nil {
		return fmt.Errorf("cannot make the state directory: %w", err)
	}
	if err := os.Chmod(o.State, 0o700); err != nil {
		return fmt.Errorf("cannot close the state directory to others: %w", err)
	}
	if o.Config != "" {
		if _, err := Load(o.Config); err != nil {
			return err
		}
		f, err := etc.Read(filepath.Dir(o.Config), filepath.Base(o.Config))
		if err != nil {
			return fmt.Errorf("cannot install configuration: %w", err)
		}
		if err := etc.Write(o.State, nil, etc.File{Path: ConfigFile, Data: f.Data, Mode: 0o600}); err != nil {
			return fmt.Errorf("cannot install configuration: %w", err)
		}
	}
	if err := pin(o.State); err != nil {
		return fmt.Errorf("cannot install the program: %w", err)
	}
	if err := step.InstallUnits(o.Etc); err != nil {
		return fmt.Errorf("cannot install units: %w", err)
	}
	return nil
}

// unlockSysroot makes the running node's /sysroot writable, for the calling goroutine only and until it ends, when the
// state directory is on it and it is not.
func unlockSysroot(state string) error {
	h := host.New(host.Options{})
	var st unix.Statfs_t
	if !strings.HasPrefix(state, h.Sysroot()+"/") || unix.Statfs(h.Sysroot(), &st) != nil || st.Flags&unix.ST_RDONLY == 0 {
		return nil
	}
	runtime.LockOSThread() // and never unlocked: the thread has a mount namespace of its own now
	if err := unix.Unshare(unix.CLONE_FS | unix.CLONE_NEWNS); err != nil {
		return fmt.Errorf("cannot make a mount namespace: %w", err)
	}
	if err := unix.Mount("none", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("cannot make mounts private: %w", err)
	}
	return h.MakeSysrootWritable()
}

// pin copies the running program into the state directory and notes its checksum.
func pin(state string) error {
	self, err := os.Open("/proc/self/exe")
	if err != nil {
		return err
	}
	defer self.Close()
	want, err := sum(self)
	if err != nil {
		return err
	}
	if have, err := sumFile(filepath.Join(state, program)); err == nil && have == want {
		return writeSum(state, want)
	}
	s, err := readLedger(state)
	if err != nil {
		return err
	}
	if len(s.Jobs) > 0 {
		return fmt.Errorf("upgrade %s is not cleaned up: both roots must run the same program until then", s.Upgrade)
	}
	if _, err := self.Seek(0, io.SeekStart); err != nil {
		return err
	}
	tmp := filepath.Join(state, program+".new")
	f, err := os.OpenFile(tmp, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o755)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, self)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err := os.Rename(tmp, filepath.Join(state, program)); err != nil {
		return err
	}
	return writeSum(state, want)
}

func writeSum(state, sum string) error {
	return etc.Write(state, nil, etc.File{Path: programSum, Data: []byte(sum + "\n"), Mode: 0o644})
}

// CheckProgram says whether the program in the state directory is still the one that was pinned there.
func CheckProgram(state string) error {
	f, err := etc.Read(state, programSum)
	if err != nil {
		return fmt.Errorf("cannot check the program: %w", err)
	}
	got, err := sumFile(filepath.Join(state, program))
	if err != nil {
		return fmt.Errorf("cannot check the program: %w", err)
	}
	if string(f.Data) != got+"\n" {
		return fmt.Errorf("cannot trust %s: it is not what was installed", filepath.Join(state, program))
	}
	return nil
}

func sumFile(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	return sum(f)
}

func sum(r io.Reader) (string, error) {
	h := sha256.New()
	if _, err := io.Copy(h, r); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}
