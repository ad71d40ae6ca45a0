package host

import "path/filepath"

// Options says which system a [Host] works on. The zero value is the running host.
type Options struct {
	// Sysroot is the directory of a plain sysroot that nothing was booted from; empty means the running host.
	Sysroot string
	// Ostree is the command that runs ostree, program first; empty means {"ostree"}. A caller may put a program and
	// arguments before it that give access to an ostree of another system tree.
	Ostree []string
}

// Host gives access to one system. It holds no state of its own: everything is read again when it is asked for. Methods
// that change deployments must not be called concurrently; ostree's own lock makes a second one wait.
type Host struct {
	sysroot string
	boot    string
	ostree  []string
	plain   bool
}

// New returns the host that o describes. It touches nothing.
func New(o Options) *Host {
	h := &Host{sysroot: "/sysroot", boot: "/boot", ostree: o.Ostree}
	if o.Sysroot != "" {
		h.sysroot, h.boot, h.plain = o.Sysroot, filepath.Join(o.Sysroot, "boot"), true
	}
	if len(h.ostree) == 0 {
		h.ostree = []string{"ostree"}
	}
	return h
}

// Sysroot is the physical root: the directory that holds ostree/repo and ostree/deploy.
func (h *Host) Sysroot() string { return h.sysroot }

// Repo is the path of the system's ostree repository.
func (h *Host) Repo() string { return filepath.Join(h.sysroot, "ostree", "repo") }

// Stateroot is the path of a stateroot: the directory that holds its deploy and var. It need not exist.
func (h *Host) Stateroot(name string) string {
	return filepath.Join(h.sysroot, "ostree", "deploy", name)
}
