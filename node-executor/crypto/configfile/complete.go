package configfile

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/reroot-dev/reroot/node-executor/crypto/files"
	"github.com/reroot-dev/reroot/node-executor/crypto/pki"
	"github.com/reroot-dev/reroot/node-executor/crypto/rule"
	"github.com/reroot-dev/reroot/node-executor/crypto/site"
)

// DefaultFiles lie outside the default roots and hold material, names or values of the cluster.
var DefaultFiles = []string{
	"/etc/mcs-machine-config-content.json", "/etc/mco/proxy.env", "/etc/chrony.conf", "/etc/hostname",
	"/etc/pki/ca-trust/source/anchors/openshift-config-user-ca-bundle.crt",
}

// scope is what is searched of a node. Paths are the node's.
type scope struct {
	node        string // where its root directory is seen from here
	dirs, files []string
	optional    []string // files that are searched if they are there
	hostKeys    bool     // those of the SSH server are replaced
}

// complete adds what is the same for both kinds of file, and reports what is missing for what the settings ask for.
func (s *Settings) complete(searched scope) error {
	s.rules.Changes = append(s.rules.Changes, rule.Leases())
	if !s.rules.NamesOnly { // then the cluster is no other
		s.rules.Changes = append(s.rules.Changes, rule.Logins())
	}
	if searched.hostKeys {
		searched.dirs = append(slices.Clone(searched.dirs), "/etc/ssh")
		s.rules.Changes = append(s.rules.Changes, rule.HostKeys(pki.Generate))
	}
	// A value that is given must reach its file wherever that is.
	for _, file := range DefaultFiles {
		if s.sets(site.Ref{Store: site.File, Name: file}) {
			searched.optional = append(slices.Clone(searched.optional), file)
		}
	}
	s.Roots = searched.roots()
	if s.DataDir == nil && s.Endpoint == nil && s.learns() {
		return errors.New("names and trust bundles cannot be replaced without etcd, which says what they are so far")
	}
	return s.rules.Check()
}

// sets tells whether a rule gives the site a value.
func (s *Settings) sets(ref site.Ref) bool {
	changes := slices.Clone(s.rules.Changes)
	for name, bundle := range s.bundles {
		changes = append(changes, rule.TrustBundle(name, nil, bundle))
	}
	return slices.ContainsFunc(changes, func(r rule.Rule) bool {
		return slices.ContainsFunc(r.Places, func(p rule.Place) bool { return p.Applies(ref) })
	})
}

// roots are the directories and single files. What lies within another is searched with that.
func (s scope) roots() []files.Root {
	var kept []string
	var all []files.Root
	add := func(path string, r files.Root) {
		if !slices.ContainsFunc(kept, func(dir string) bool { return within(path, dir) }) {
			r.Host = filepath.Join(s.node, r.Node)
			kept, all = append(kept, path), append(all, r)
		}
	}
	for _, dir := range slices.Sorted(slices.Values(s.dirs)) {
		add(dir, files.Root{Node: dir})
	}
	single := slices.Clone(s.files)
	for _, file := range s.optional {
		if info, err := os.Lstat(filepath.Join(s.node, file)); err == nil && info.Mode().IsRegular() {
			single = append(single, file)
		}
	}
	slices.Sort(single)
	for _, file := range single {
		add(file, files.Root{Node: filepath.Dir(file), Only: filepath.Base(file)})
	}
	return all
}

func within(path, dir string) bool {
	return path == dir || strings.HasPrefix(path, strings.TrimSuffix(dir, "/")+"/")
}
