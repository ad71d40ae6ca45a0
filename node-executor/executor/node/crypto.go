package node

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/reroot-dev/reroot/node-executor/crypto"
	"github.com/reroot-dev/reroot/node-executor/crypto/files"
	"github.com/reroot-dev/reroot/node-executor/crypto/plan"
)

// Crypto says where the cluster's keys, certificates and names are, and what is to be done with what is unclear. A root that
// is refused for it was booted in vain, so whoever knows of such material names it here before.
type Crypto struct {
	// Roots are the directories that are searched. Default: [crypto.DefaultRoots].
	Roots []string `json:"roots,omitempty"`
	// Files are single files that are searched as well, where they exist. Default: the lifecycle-agent's, as far as they
	// are not below a root: /etc/mcs-machine-config-content.json, /etc/mco/proxy.env and /etc/chrony.conf.
	Files []string `json:"files,omitempty"`
	// Skip are paths below the roots that are left alone.
	Skip []string `json:"skip,omitempty"`
	// Own are patterns of common names of authorities of the cluster whose key was thrown away. Default: the installer's.
	Own []string `json:"own,omitempty"`
	// External are sites, or their beginnings when they end in a slash, that list authorities of others:
	// file:/etc/pki/, etcd:/kubernetes.io/configmaps/… Default: those of OpenShift and of Linux distributions. ConfigMaps that
	// the cluster's Image and Proxy name need not be in the list.
	External []string `json:"external,omitempty"`
	// Unknown authorities, neither known as the cluster's nor as others': refuse (default), keep or replace.
	Unknown plan.Policy `json:"unknown,omitempty"`
	// Orphans are private keys with a certificate whose issuer's key is not here: refuse (default) or keep.
	Orphans plan.Policy `json:"orphans,omitempty"`
	// Unread is what may hold a private key and cannot be read, such as a key store without its password: refuse (default)
	// or keep.
	Unread plan.Policy `json:"unread,omitempty"`
}

// defaultFiles are those that the lifecycle-agent has recert search and change.
var defaultFiles = []string{"/etc/mcs-machine-config-content.json", "/etc/mco/proxy.env", "/etc/chrony.conf"}

func (c *Crypto) fill() {
	if c.Roots == nil {
		c.Roots = crypto.DefaultRoots
	}
	if c.Files == nil {
		for _, file := range defaultFiles {
			if !slices.ContainsFunc(c.Roots, func(dir string) bool { return strings.HasPrefix(file, strings.TrimSuffix(dir, "/")+"/") }) {
				c.Files = append(c.Files, file)
			}
		}
	}
	if c.Own == nil {
		c.Own = plan.DefaultOwn
	}
	if c.External == nil {
		c.External = plan.DefaultExternal
	}
}

// check refuses what the engine would refuse in the new root.
func (c *Crypto) check() error {
	rules := c.rules(time.Now())
	_, err := files.New(c.roots("/"), c.Skip)
	if err = errors.Join(err, rules.Check()); err != nil {
		return fmt.Errorf("crypto: %w", err)
	}
	return nil
}

// roots are all directories and files, of a node whose root directory is seen at that path.
func (c *Crypto) roots(node string) []files.Root {
	var all []files.Root
	for _, dir := range c.Roots {
		all = append(all, files.Root{Host: filepath.Join(node, dir), Node: dir})
	}
	for _, file := range c.Files {
		dir, name := filepath.Split(file)
		all = append(all, files.Root{Host: filepath.Join(node, dir), Node: filepath.Clean(dir), Only: name})
	}
	return all
}

// present are the roots without the files that do not exist.
func (c *Crypto) present(node string) []files.Root {
	return slices.DeleteFunc(c.roots(node), func(r files.Root) bool {
		_, err := os.Lstat(filepath.Join(r.Host, r.Only))
		return r.Only != "" && errors.Is(err, fs.ErrNotExist)
	})
}

// rules are the policies, for certificates that begin to be valid now: a seed may be months old.
func (c *Crypto) rules(now time.Time) plan.Rules {
	return plan.Rules{
		Validity: plan.Extend, Now: now, Own: c.Own, External: c.External, Unknown: c.Unknown, Orphans: c.Orphans, Unread: c.Unread,
	}
}
