package cluster

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// disk maps a node's absolute paths to the directories that become its /etc and
// /var.
type disk struct{ etc, varDir string }

// host is where the node's path is on this machine. Paths outside /etc and /var
// are an error of this package, not of its input.
func (d disk) host(path string) string {
	switch {
	case strings.HasPrefix(path, "/etc/"):
		return filepath.Join(d.etc, strings.TrimPrefix(path, "/etc/"))
	case strings.HasPrefix(path, "/var/"):
		return filepath.Join(d.varDir, strings.TrimPrefix(path, "/var/"))
	}
	panic("cluster: not below /etc or /var: " + path)
}

// rewrite replaces the node's paths in a command-line argument with this
// machine's. It is for the flags of the lab's own manifests: in those, a path
// starts at the argument's beginning or after "=" or ",".
func (d disk) rewrite(arg string) string {
	for _, root := range []struct{ node, host string }{{"/etc/", d.etc}, {"/var/", d.varDir}} {
		if strings.HasPrefix(arg, root.node) {
			arg = root.host + "/" + strings.TrimPrefix(arg, root.node)
		}
		for _, before := range []string{"=", ","} {
			arg = strings.ReplaceAll(arg, before+root.node, before+root.host+"/")
		}
	}
	return arg
}

// write creates the node's file path. Files that hold a key or a token are 0600,
// as on a node; the others 0644.
func (d disk) write(path string, data []byte, secret bool) error {
	mode := os.FileMode(0o644)
	if secret {
		mode = 0o600
	}
	file := d.host(path)
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return fmt.Errorf("cannot write node file %s: %w", path, err)
	}
	if err := os.WriteFile(file, data, mode); err != nil {
		return fmt.Errorf("cannot write node file %s: %w", path, err)
	}
	return nil
}
