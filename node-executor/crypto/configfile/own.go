package configfile

import (
	"cmp"
	"encoding/hex"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/reroot-dev/reroot/node-executor/crypto"
	"github.com/reroot-dev/reroot/node-executor/crypto/etcd"
	"github.com/reroot-dev/reroot/node-executor/crypto/plan"
	"github.com/reroot-dev/reroot/node-executor/crypto/rule"
)

// File is our own kind of file. Paths are absolute; those of roots, files, skip and etcd.dir are the node's.
type File struct {
	// Node is where the node's root directory is seen from here. Default: "/".
	Node string `json:"node,omitempty"`
	// Roots are the directories that are searched. Default: [crypto.DefaultRoots].
	Roots []string `json:"roots,omitempty"`
	// Files are single files that are searched as well. Default: those of [DefaultFiles] that are there.
	Files []string `json:"files,omitempty"`
	// Skip are paths below the roots that are left alone.
	Skip []string `json:"skip,omitempty"`
	Etcd *Etcd    `json:"etcd,omitempty"`
	// Journal is a directory for this one regeneration, on storage that survives a reboot. It holds private keys while
	// work is in progress. A regeneration that is interrupted is finished by a second one with the same journal.
	Journal string `json:"journal,omitempty"`
	// Summary is a file that gets the summary, with hashes only: YAML or, when it is named so, JSON.
	Summary string `json:"summary,omitempty"`
	// Validity of what is issued anew: keep (default), extend (begins now) or force-expire (ends now). Its length stays,
	// unless ValidFor says another, and is never more than ValidAtMost; both are like 8760h.
	Validity    plan.ValidityMode `json:"validity,omitempty"`
	ValidFor    metav1.Duration   `json:"validFor,omitzero"`
	ValidAtMost metav1.Duration   `json:"validAtMost,omitzero"`
	// NamesOnly keeps all keys and tokens: certificates are issued again, on their own keys, where names in them change.
	NamesOnly bool `json:"namesOnly,omitempty"`
	Keep      Keep `json:"keep,omitzero"`
	// Names maps common names, DNS names and addresses in certificates, each as a whole.
	Names map[string]string `json:"names,omitempty"`
	// Cluster is what the cluster is called from now on; what it says nothing about keeps its name.
	Cluster Names  `json:"cluster,omitzero"`
	Values  Values `json:"values,omitzero"`
	// SSHHostKeys replaces the keys of the SSH server by new ones of the same types.
	SSHHostKeys bool `json:"sshHostKeys,omitempty"`
	// Drop are patterns of keys of etcd, below /kubernetes.io/, that are deleted: leases/*/*.
	Drop []string `json:"drop,omitempty"`
	// Own are patterns of common names of authorities of the cluster whose key was thrown away. Default: the installer's.
	Own []string `json:"own,omitempty"`
	// External are sites, or their beginnings when they end in a slash, that list authorities of others:
	// file:/etc/pki/, etcd:/kubernetes.io/configmaps/… Default: those of OpenShift and of Linux distributions.
	External []string `json:"external,omitempty"`
	// Unknown authorities, neither known as the cluster's nor as others': refuse (default), keep or replace.
	Unknown plan.Policy `json:"unknown,omitempty"`
	// Orphans are private keys with a certificate whose issuer's key is not here: refuse (default) or keep.
	Orphans plan.Policy `json:"orphans,omitempty"`
	// Unread is what may hold a private key and cannot be read, such as a key store without its password: refuse (default)
	// or keep.
	Unread plan.Policy `json:"unread,omitempty"`
	// ForeignTokens are signed by a key that is not here: keep (default) or refuse.
	ForeignTokens plan.Policy `json:"foreignTokens,omitempty"`
}

// Etcd says where the key space is: in a data directory of a stopped etcd, or behind the endpoint of one that runs, which
// must belong to the node alone. Of the latter only history and free pages can be cleaned: its log forgets as it is filled.
type Etcd struct {
	Dir string `json:"dir,omitempty"`
	// Programs are etcds by their minor version, "3.5". A directory is only opened by one of its own.
	Programs map[string]string `json:"programs,omitempty"`
	Endpoint string            `json:"endpoint,omitempty"` // URL
}

// Keep says what stays from the cluster that this one takes the place of, so that its clients go on trusting it.
type Keep struct {
	Keys         []KeptKey         `json:"keys,omitempty"`
	Certificates []KeptCertificate `json:"certificates,omitempty"`
}

// KeptKey puts a private key in the place of an authority's.
type KeptKey struct {
	Name string `json:"name"` // common name of the authority
	// ID, when set, is that of the key to be replaced: the SHA-256 of its public half, as inspect prints it.
	ID string `json:"id,omitempty"`
	// Site, when set, is where the key to be replaced stands: /secrets/NAMESPACE/NAME, or the end of a file's path.
	Site string `json:"site,omitempty"`
	// File holds the key in PEM and, optionally, the certificate that clients have, whose key identifier then stays.
	File string `json:"file"`
}

// KeptCertificate puts a certificate in the place of those of the same name.
type KeptCertificate struct {
	Name string `json:"name,omitempty"` // default: the certificate's own
	File string `json:"file"`           // PEM
}

// Values are files with what only the old cluster knows; "" leaves the seed's.
type Values struct {
	PullSecret    string `json:"pullSecret,omitempty"`    // .dockerconfigjson
	InstallConfig string `json:"installConfig,omitempty"` // YAML
	Chrony        string `json:"chrony,omitempty"`        // chrony.conf
	// Kubeadmin holds the bcrypt hash of the administrator's password; an empty file removes the seed's.
	Kubeadmin string `json:"kubeadmin,omitempty"`
	// TrustBundles hold authorities in PEM, by the name of the ConfigMap of openshift-config: user-ca-bundle.
	TrustBundles map[string]string `json:"trustBundles,omitempty"`
	Proxy        *Proxy            `json:"proxy,omitempty"`
}

// Proxy is what the administrator said of the proxy and what the network operator made of it.
type Proxy struct {
	Spec   ProxySettings `json:"spec"`
	Status ProxySettings `json:"status"`
}

// ProxySettings are named as in OpenShift's Proxy.
type ProxySettings struct {
	HTTPProxy  string `json:"httpProxy,omitempty"`
	HTTPSProxy string `json:"httpsProxy,omitempty"`
	NoProxy    string `json:"noProxy,omitempty"`
}

func (p ProxySettings) settings() rule.ProxySettings {
	return rule.ProxySettings{HTTP: p.HTTPProxy, HTTPS: p.HTTPSProxy, No: p.NoProxy}
}

func parseOwn(text []byte, now time.Time) (*Settings, error) {
	var f File
	if err := strictly(text, &f); err != nil {
		return nil, err
	}
	f.Node = cmp.Or(f.Node, "/")
	searched := scope{node: f.Node, dirs: f.Roots, files: f.Files, hostKeys: f.SSHHostKeys}
	if f.Roots == nil {
		searched.dirs = crypto.DefaultRoots
	}
	if f.Files == nil {
		searched.optional = DefaultFiles
	}
	if err := f.check(); err != nil {
		return nil, err
	}
	s := &Settings{
		Skip: f.Skip, Journal: f.Journal, target: f.Cluster,
		rules: plan.Rules{
			Names: f.Names, Validity: f.Validity, Now: now, ValidFor: f.ValidFor.Duration, ValidAtMost: f.ValidAtMost.Duration, NamesOnly: f.NamesOnly,
			Own: f.Own, External: f.External, Unknown: f.Unknown, Orphans: f.Orphans, Unread: f.Unread, ForeignTokens: f.ForeignTokens,
		},
	}
	if f.Summary != "" {
		s.Summary = []string{f.Summary}
	}
	if f.Own == nil {
		s.rules.Own = plan.DefaultOwn
	}
	if f.External == nil {
		s.rules.External = plan.DefaultExternal
	}
	if len(f.Drop) > 0 {
		s.rules.Changes = append(s.rules.Changes, rule.Drop("drop", "the configuration says so", f.Drop...))
	}
	f.openEtcd(s)
	if err := errors.Join(f.Keep.into(s), f.Values.into(s)); err != nil {
		return nil, err
	}
	return s, s.complete(searched)
}

func (f *File) openEtcd(s *Settings) {
	switch {
	case f.Etcd == nil:
	case f.Etcd.Endpoint != "":
		s.Endpoint = &etcd.Endpoint{Config: clientv3.Config{Endpoints: []string{f.Etcd.Endpoint}}}
	default:
		s.DataDir = &etcd.DataDir{Dir: filepath.Join(f.Node, cmp.Or(f.Etcd.Dir, "/var/lib/etcd")), Programs: f.Etcd.Programs}
	}
}

// check reports everything that is wrong with what the file says by itself.
func (f *File) check() error {
	var problems []error
	claim := func(ok bool, format string, args ...any) {
		if !ok {
			problems = append(problems, fmt.Errorf(format, args...))
		}
	}
	absolute := func(option string, paths ...string) {
		for _, p := range paths {
			claim(p == "" || filepath.IsAbs(p) && filepath.Clean(p) == p, "%s: %q is not an absolute, clean path", option, p)
		}
	}
	absolute("node", f.Node)
	absolute("roots", f.Roots...)
	absolute("files", f.Files...)
	absolute("skip", f.Skip...)
	absolute("journal", f.Journal)
	absolute("summary", f.Summary)
	switch f.Validity {
	case "", plan.KeepValidity, plan.Extend, plan.ForceExpire:
	default:
		claim(false, "validity: %q is neither keep, extend nor force-expire", f.Validity)
	}
	claim(f.Orphans != "drop", "orphans: what is to go is told by its place: delete the files, and name the keys of etcd under drop")
	for option, p := range map[string]plan.Policy{"unknown": f.Unknown, "orphans": f.Orphans, "unread": f.Unread, "foreignTokens": f.ForeignTokens} {
		claim(slices.Contains([]plan.Policy{"", plan.Refuse, plan.Keep, plan.Replace, "drop"}, p), "%s: %q is neither refuse, keep nor replace", option, p)
	}
	for _, kept := range f.Keep.Keys {
		claim(kept.Name != "", "keep.keys: one has no name, which the authority gets")
	}
	if f.Etcd != nil {
		absolute("etcd.dir", f.Etcd.Dir)
		claim((f.Etcd.Endpoint == "") != (len(f.Etcd.Programs) == 0), "etcd: either programs for a data directory or an endpoint is needed")
		for minor, p := range f.Etcd.Programs {
			claim(etcd.IsMinor(minor), "etcd.programs: %q is not a minor version such as 3.5", minor)
			absolute("etcd.programs."+minor, p)
		}
	}
	return errors.Join(append(problems, f.Cluster.check())...)
}

func (k Keep) into(s *Settings) error {
	var problems []error
	for _, kept := range k.Keys {
		text, err := readFile(kept.File)
		if err == nil {
			var r plan.KeepKey
			r, err = plan.ReadKeepKey(kept.Name, text)
			r.Site = kept.Site
			if id, decoding := hex.DecodeString(kept.ID); decoding == nil && len(id) == len(r.ID) {
				copy(r.ID[:], id)
			} else if kept.ID != "" {
				err = errors.Join(err, fmt.Errorf("keep.keys: %q is not the id of a key, 64 hexadecimal digits", kept.ID))
			}
			s.rules.KeepKeys = append(s.rules.KeepKeys, r)
		}
		problems = append(problems, err)
	}
	for _, kept := range k.Certificates {
		text, err := readFile(kept.File)
		if err == nil {
			var r plan.KeepCertificate
			if r, err = plan.ReadKeepCertificate(text); err != nil {
				err = fmt.Errorf("cannot keep the certificate of %s: %w", kept.File, err)
			}
			r.CommonName = kept.Name
			s.rules.KeepCertificates = append(s.rules.KeepCertificates, r)
		}
		problems = append(problems, err)
	}
	return errors.Join(problems...)
}

func (v Values) into(s *Settings) error {
	var problems []error
	for _, value := range []struct {
		file string
		rule func([]byte) rule.Rule
	}{
		{v.PullSecret, rule.PullSecret}, {v.InstallConfig, rule.InstallConfig}, {v.Chrony, rule.Chrony}, {v.Kubeadmin, rule.Kubeadmin},
	} {
		if value.file == "" {
			continue
		}
		text, err := readFile(value.file)
		problems = append(problems, err)
		s.rules.Changes = append(s.rules.Changes, value.rule(text))
	}
	s.bundles = map[string][]byte{}
	for name, file := range v.TrustBundles {
		text, err := readFile(file)
		problems = append(problems, err)
		s.bundles[name] = text
	}
	if v.Proxy != nil {
		s.proxy = v.Proxy.Status.settings()
		s.rules.Changes = append(s.rules.Changes, rule.Proxy(v.Proxy.Spec.settings(), s.proxy))
	}
	return errors.Join(problems...)
}
