package host

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
)

// Errors that callers tell apart.
var (
	// ErrNotBooted: libostree does not see any deployment as the running one.
	ErrNotBooted = errors.New("no deployment is booted")
	// ErrNotDeployed: the deployment does not exist, or only half of it.
	ErrNotDeployed = errors.New("no such deployment")
	// ErrBooted: the operation would remove the running system.
	ErrBooted = errors.New("the deployment is booted")
)

var (
	commitPattern    = regexp.MustCompile(`^[0-9a-f]{64}$`)
	staterootPattern = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.+~-]*$`)
)

// admin runs `ostree admin VERB ARGS` on this system.
func (h *Host) admin(ctx context.Context, verb string, args ...string) ([]byte, error) {
	all := []string{"admin", verb}
	if h.plain {
		all = append(all, "--sysroot="+h.sysroot)
	}
	return h.runOstree(ctx, append(all, args...)...)
}

func (h *Host) runOstree(ctx context.Context, args ...string) ([]byte, error) {
	return h.Run(ctx, Cmd{Name: h.ostree[0], Args: append(h.ostree[1:len(h.ostree):len(h.ostree)], args...)})
}

// Status lists the deployments, the default one first. libostree's view and the boot loader's entries must agree, or
// else the error says in what they differ.
func (h *Host) Status(ctx context.Context) ([]Deployment, error) {
	text, err := h.admin(ctx, "status")
	if err != nil {
		return nil, fmt.Errorf("cannot list deployments: %w", err)
	}
	list, err := ParseStatus(text)
	if err != nil {
		return nil, err
	}
	entries, err := h.bootEntries()
	if err != nil {
		return nil, err
	}
	for i := range list {
		d := &list[i]
		d.Path = filepath.Join(h.Stateroot(d.Stateroot), "deploy", fmt.Sprintf("%s.%d", d.Commit, d.Serial))
		if d.Staged {
			continue
		}
		if len(entries) == 0 {
			return nil, fmt.Errorf("cannot list deployments: %s has no boot entry", d.ID())
		}
		target, err := h.bootTarget(entries[0])
		if err != nil {
			return nil, err
		}
		if target != d.Path {
			return nil, fmt.Errorf("cannot list deployments: boot entry %s leads to %s, ostree has %s there",
				entries[0].File, target, d.Path)
		}
		d.Boot, entries = entries[0], entries[1:]
	}
	if len(entries) > 0 {
		return nil, fmt.Errorf("cannot list deployments: boot entry %s is unknown to ostree", entries[0].File)
	}
	return list, nil
}

// bootTarget is the deployment root that a boot entry's ostree= argument leads to.
func (h *Host) bootTarget(e BootEntry) (string, error) {
	link, ok := e.Ostree()
	if !ok {
		return "", fmt.Errorf("cannot follow boot entry %s: it has no ostree= argument", e.File)
	}
	link = filepath.Join(h.sysroot, filepath.Clean("/"+link))
	to, err := os.Readlink(link)
	if err != nil {
		return "", fmt.Errorf("cannot follow boot entry %s: %w", e.File, err)
	}
	// The link's own path is ostree/boot.N/STATEROOT/CHECKSUM/SERIAL where boot.N is itself a link, to boot.N.M beside
	// it, so the lexical parent is the real one.
	return filepath.Join(filepath.Dir(link), to), nil
}

// Booted returns the deployment that runs, or [ErrNotBooted].
func (h *Host) Booted(ctx context.Context) (Deployment, error) {
	list, err := h.Status(ctx)
	if err != nil {
		return Deployment{}, err
	}
	for _, d := range list {
		if d.Booted {
			return d, nil
		}
	}
	return Deployment{}, ErrNotBooted
}

// Find returns the deployment with that stateroot, commit and serial, or [ErrNotDeployed].
func (h *Host) Find(ctx context.Context, stateroot, commit string, serial int) (Deployment, error) {
	list, err := h.Status(ctx)
	if err != nil {
		return Deployment{}, err
	}
	for _, d := range list {
		if d.Is(stateroot, commit, serial) {
			return d, nil
		}
	}
	return Deployment{}, fmt.Errorf("cannot find %s-%s.%d: %w", stateroot, commit, serial, ErrNotDeployed)
}

// PullLocal copies one commit from another repository on this machine, as hard links where the file system allows, and
// verifies the checksum of every object that it takes. It resumes what an earlier, killed run began.
//
// Hazard: without a commit ostree copies all refs, among them the other system's deployment refs, and these overwrite
// the refs that keep this system's running commit from being pruned. So a commit must be named.
func (h *Host) PullLocal(ctx context.Context, repo, commit string) error {
	if !commitPattern.MatchString(commit) {
		return fmt.Errorf("cannot pull commit %q: not a checksum", commit)
	}
	args := []string{"pull-local", "--untrusted", repo, commit}
	if h.plain { // without it ostree takes the system's repository and sees to a writable mount by itself
		args = append(args, "--repo="+h.Repo())
	}
	if _, err := h.runOstree(ctx, args...); err != nil {
		return fmt.Errorf("cannot pull commit %s: %w", commit, err)
	}
	return nil
}

// StaterootInit makes an empty stateroot unless it exists.
func (h *Host) StaterootInit(ctx context.Context, name string) error {
	if !staterootPattern.MatchString(name) {
		return fmt.Errorf("cannot make stateroot %q: not a name ostree takes", name)
	}
	dir := h.Stateroot(name)
	if _, err := os.Stat(filepath.Join(dir, "var")); err == nil {
		return nil
	}
	// A killed run may have left the bare directory, which ostree would call an existing stateroot.
	if err := os.Remove(dir); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("cannot make stateroot %s: %w", name, err)
	}
	if _, err := h.admin(ctx, "os-init", name); err != nil {
		return fmt.Errorf("cannot make stateroot %s: %w", name, err)
	}
	return nil
}

// Deploy makes a commit of the repository bootable in a stateroot, with exactly these kernel arguments and the /etc that
// the commit came with, as the last choice of the boot loader. A deployment of that commit in that stateroot that is
// there already is returned as it is: ostree would replace it, and lose the changes in its /etc.
func (h *Host) Deploy(ctx context.Context, stateroot, commit string, kargs []string) (Deployment, error) {
	if d, err := h.newest(ctx, stateroot, commit); err == nil || !errors.Is(err, ErrNotDeployed) {
		return d, err
	}
	args := []string{"--os=" + stateroot, "--not-as-default", "--no-prune", "--no-merge"}
	for _, k := range kargs {
		args = append(args, "--karg-append="+k)
	}
	_, runErr := h.admin(ctx, "deploy", append(args, commit)...)
	if runErr != nil {
		return Deployment{}, fmt.Errorf("cannot deploy %s in %s: %w", commit, stateroot, runErr)
	}
	return h.newest(ctx, stateroot, commit)
}

// newest finds the deployment of a commit in a stateroot with the highest serial. A directory alone proves nothing: a
// killed deploy leaves one behind that is not in the list.
func (h *Host) newest(ctx context.Context, stateroot, commit string) (Deployment, error) {
	list, err := h.Status(ctx)
	if err != nil {
		return Deployment{}, err
	}
	found := Deployment{Serial: -1}
	for _, d := range list {
		if d.Stateroot == stateroot && d.Commit == commit && d.Serial > found.Serial {
			found = d
		}
	}
	if found.Serial < 0 {
		return Deployment{}, fmt.Errorf("cannot find commit %s in %s: %w", commit, stateroot, ErrNotDeployed)
	}
	return found, nil
}

// SetDefault makes a deployment the one that boots next. It is idempotent. Its success is judged by reading the boot
// loader's entries again, for the command may take effect and still report a failure when it is interrupted.
func (h *Host) SetDefault(ctx context.Context, stateroot, commit string, serial int) error {
	d, err := h.Find(ctx, stateroot, commit, serial)
	if err != nil {
		return err
	}
	if d.Index == 0 {
		return nil
	}
	_, runErr := h.admin(ctx, "set-default", strconv.Itoa(d.Index))
	d, err = h.Find(context.WithoutCancel(ctx), stateroot, commit, serial)
	switch {
	case err == nil && d.Index == 0:
		return nil
	case runErr != nil:
		return fmt.Errorf("cannot make %s-%s.%d the default: %w", stateroot, commit, serial, runErr)
	case err != nil:
		return err
	}
	return fmt.Errorf("cannot make %s the default: ostree reported success and left it at position %d", d.ID(), d.Index)
}

// HasSetDefault reports whether this ostree knows set-default (2023.7 and newer). Without it there is no way to choose
// a deployment that keeps the changes in its /etc.
func (h *Host) HasSetDefault(ctx context.Context) (bool, error) {
	text, err := h.runOstree(ctx, "admin", "--help")
	if err != nil {
		return false, fmt.Errorf("cannot ask ostree for its commands: %w", err)
	}
	for line := range strings.Lines(string(text)) {
		if fields := strings.Fields(line); len(fields) > 0 && fields[0] == "set-default" {
			return true, nil
		}
	}
	return false, nil
}

// Undeploy removes a deployment from the boot loader and its tree from the disk; the stateroot's var stays. It is
// idempotent, refuses the booted deployment with [ErrBooted], and removes a pinned one all the same.
func (h *Host) Undeploy(ctx context.Context, stateroot, commit string, serial int) error {
	d, err := h.Find(ctx, stateroot, commit, serial)
	if errors.Is(err, ErrNotDeployed) {
		return nil
	}
	if err != nil {
		return err
	}
	if d.Booted {
		return fmt.Errorf("cannot undeploy %s: %w", d.ID(), ErrBooted)
	}
	if _, err := h.admin(ctx, "undeploy", strconv.Itoa(d.Index)); err != nil {
		return fmt.Errorf("cannot undeploy %s: %w", d.ID(), err)
	}
	return nil
}

// RemoveStateroot removes a stateroot with its deployments, finished or not, and its var, then frees what only they
// used. It is idempotent and refuses with [ErrBooted], before it touches anything, when a deployment of it is booted.
func (h *Host) RemoveStateroot(ctx context.Context, name string) error {
	if !staterootPattern.MatchString(name) {
		return fmt.Errorf("cannot remove stateroot %q: not a name ostree takes", name)
	}
	list, err := h.Status(ctx)
	if err != nil {
		return err
	}
	for _, d := range list {
		if d.Stateroot == name && d.Booted {
			return fmt.Errorf("cannot remove stateroot %s: %w", name, ErrBooted)
		}
	}
	for _, d := range list {
		if d.Stateroot == name {
			if err := h.Undeploy(ctx, d.Stateroot, d.Commit, d.Serial); err != nil {
				return err
			}
		}
	}
	if err := h.removeTree(h.Stateroot(name)); err != nil {
		return fmt.Errorf("cannot remove stateroot %s: %w", name, err)
	}
	return h.Cleanup(ctx)
}

// Cleanup removes what interrupted deployments left and the objects that no deployment and no ref needs.
func (h *Host) Cleanup(ctx context.Context) error {
	if _, err := h.admin(ctx, "cleanup"); err != nil {
		return fmt.Errorf("cannot clean up deployments: %w", err)
	}
	return nil
}

// ConfigDiff lists how /etc of a stateroot's newest (or booted) deployment differs from what its commit came with.
func (h *Host) ConfigDiff(ctx context.Context, stateroot string) ([]Change, error) {
	text, err := h.admin(ctx, "config-diff", "--os="+stateroot)
	if err != nil {
		return nil, fmt.Errorf("cannot compare /etc of %s: %w", stateroot, err)
	}
	return ParseConfigDiff(text)
}
