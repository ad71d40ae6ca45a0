package configfile

import (
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"k8s.io/apimachinery/pkg/util/rand"

	"github.com/reroot-dev/reroot/node-executor/crypto/etcd"
	"github.com/reroot-dev/reroot/node-executor/crypto/plan"
	"github.com/reroot-dev/reroot/node-executor/crypto/rule"
)

// recertFile is recert's file. Texts that it takes in place or by path are in place or by path here.
type recertFile struct {
	EtcdEndpoint string `json:"etcd_endpoint"`

	CryptoDirs         []string `json:"crypto_dirs"`
	CryptoFiles        []string `json:"crypto_files"`
	CustomizationDirs  []string `json:"cluster_customization_dirs"`
	CustomizationFiles []string `json:"cluster_customization_files"`
	StaticDirs         []string `json:"static_dirs"`
	StaticFiles        []string `json:"static_files"`

	CNSANReplaceRules []string `json:"cn_san_replace_rules"`
	UseKeyRules       []string `json:"use_key_rules"`
	UseCertRules      []string `json:"use_cert_rules"`
	ExtendExpiration  bool     `json:"extend_expiration"`
	ForceExpire       bool     `json:"force_expire"`

	ClusterRename      string    `json:"cluster_rename"`
	Hostname           string    `json:"hostname"`
	IP                 oneOrMore `json:"ip"`
	MachineNetworkCIDR oneOrMore `json:"machine_network_cidr"`
	Proxy              string    `json:"proxy"`
	InstallConfig      string    `json:"install_config"`
	KubeadminHash      *string   `json:"kubeadmin_password_hash"`
	PullSecret         string    `json:"pull_secret"`
	Chrony             string    `json:"chrony_config"`
	UserCABundle       string    `json:"user_ca_bundle"`
	ProxyCABundle      string    `json:"proxy_trusted_ca_bundle"`
	IPChangeOnly       bool      `json:"ip_change_only"`
	PostprocessOnly    bool      `json:"postprocess_only"`
	KubeEncryption     any       `json:"kube_encryption_config"`
	OpenshiftEncrypt   any       `json:"openshift_encryption_config"`
	OAuthEncryption    any       `json:"oauth_encryption_config"`
	ServerSSHKeys      string    `json:"regenerate_server_ssh_keys"`
	DryRun             bool      `json:"dry_run"`
	EtcdDefrag         bool      `json:"etcd_defrag"` // done in any case
	Threads            int       `json:"threads"`
	SummaryFile        string    `json:"summary_file"`
	SummaryFileClean   string    `json:"summary_file_clean"` // ours never hold a secret: they are the same
}

// oneOrMore is a text, or a list of texts.
type oneOrMore []string

// UnmarshalJSON reads either.
func (o *oneOrMore) UnmarshalJSON(text []byte) error {
	var one string
	if json.Unmarshal(text, &one) == nil {
		*o = slices.DeleteFunc(strings.Split(one, ","), func(s string) bool { return s == "" })
		return nil
	}
	return json.Unmarshal(text, (*[]string)(o))
}

// isRecert tells recert's files by options that ours do not have: theirs are written with underscores.
func isRecert(options []string) bool {
	return slices.ContainsFunc(options, func(option string) bool { return strings.Contains(option, "_") })
}

// recertMounts are where the lifecycle-agent shows a node's directories to recert's container. There is no container here.
var recertMounts = []struct{ container, node string }{
	{"/host-etc", "/etc"}, {"/kubernetes", "/etc/kubernetes"}, {"/kubelet", "/var/lib/kubelet"},
	{"/machine-config-daemon", "/etc/machine-config-daemon"}, {"/ssh", "/etc/ssh"}, {"/pki", "/etc/pki"},
}

// onNode joins lists of paths of the container, as paths of the node.
func onNode(lists ...[]string) []string {
	all := slices.Concat(lists...)
	for i, path := range all {
		path = filepath.Clean(path)
		for _, m := range recertMounts {
			if within(path, m.container) {
				path = m.node + strings.TrimPrefix(path, m.container)
				break
			}
		}
		all[i] = path
	}
	return all
}

func parseRecert(text []byte, now time.Time) (*Settings, error) {
	var f recertFile
	if err := strictly(text, &f); err != nil {
		return nil, err
	}
	if err := f.refuse(); err != nil {
		return nil, err
	}
	s := &Settings{
		DryRun: f.DryRun, Threads: f.Threads, Journal: journalFor(text), bundles: map[string][]byte{},
		rules: plan.Rules{
			Now: now, NamesOnly: f.IPChangeOnly, Own: plan.DefaultOwn, External: plan.DefaultExternal, Unknown: plan.Keep, Orphans: plan.Refuse,
		},
	}
	searched := scope{
		node: "/", dirs: onNode(f.CryptoDirs, f.CustomizationDirs, f.StaticDirs), files: onNode(f.CryptoFiles, f.StaticFiles),
		optional: onNode(f.CustomizationFiles), hostKeys: f.ServerSSHKeys != "",
	}
	s.Summary = slices.DeleteFunc([]string{f.SummaryFile, f.SummaryFileClean}, func(p string) bool { return p == "" })
	if f.EtcdEndpoint != "" {
		s.Endpoint = &etcd.Endpoint{Config: clientv3.Config{Endpoints: []string{f.EtcdEndpoint}}}
	}
	switch {
	case f.ExtendExpiration:
		s.rules.Validity = plan.Extend
	case f.ForceExpire:
		s.rules.Validity = plan.ForceExpire
	}
	if err := errors.Join(f.certificates(s), f.names(s), f.values(s)); err != nil {
		return nil, err
	}
	return s, s.complete(searched)
}

// refuse reports options that ask for something else than is done here. Each is refused by itself, so that its advice is read.
func (f *recertFile) refuse() error {
	for _, r := range []struct {
		asked bool
		RefusedError
	}{
		{f.ExtendExpiration && f.ForceExpire, RefusedError{"force_expire", "extend_expiration asks for the contrary", "leave one of the two out"}},
		{f.PostprocessOnly, RefusedError{"postprocess_only", "names are replaced in the same run as keys, so that no state in between can be left",
			"leave it out"}},
		{f.KubeEncryption != nil, givenEncryption("kube_encryption_config")},
		{f.OpenshiftEncrypt != nil, givenEncryption("openshift_encryption_config")},
		{f.OAuthEncryption != nil, givenEncryption("oauth_encryption_config")},
		{f.ServerSSHKeys != "" && onNode([]string{f.ServerSSHKeys})[0] != "/etc/ssh", RefusedError{"regenerate_server_ssh_keys", "the keys of the SSH server are in /etc/ssh only",
			"give /ssh or /etc/ssh"}},
	} {
		if r.asked {
			return &r.RefusedError
		}
	}
	return nil
}

func givenEncryption(option string) RefusedError {
	return RefusedError{option, "keys of encryption at rest are always made anew, in the place and mode of the seed's", "leave it out"}
}

// certificates takes the rules for keys, certificates and names in them.
func (f *recertFile) certificates(s *Settings) error {
	var problems []error
	for _, r := range f.CNSANReplaceRules {
		old, renamed, ok := splitPair(r)
		if !ok {
			problems = append(problems, fmt.Errorf("cannot take option cn_san_replace_rules: %q is not old:new or old,new", r))
			continue
		}
		if s.rules.Names == nil {
			s.rules.Names = map[string]string{}
		}
		s.rules.Names[old] = renamed
	}
	for _, r := range f.UseKeyRules {
		name, key, err := splitKeyRule(r)
		if err == nil {
			var rule plan.KeepKey
			rule, err = plan.ReadKeepKey(name, key)
			s.rules.KeepKeys = append(s.rules.KeepKeys, rule)
		}
		problems = append(problems, err)
	}
	for _, r := range f.UseCertRules {
		text, err := inPlace(r)
		if err == nil {
			var rule plan.KeepCertificate
			if rule, err = plan.ReadKeepCertificate(text); err != nil {
				err = fmt.Errorf("cannot take option use_cert_rules: %w", err)
			}
			s.rules.KeepCertificates = append(s.rules.KeepCertificates, rule)
		}
		problems = append(problems, err)
	}
	return errors.Join(problems...)
}

// splitPair reads "old,new" or "old:new". Where names have colons themselves, both have as many: system:node:a:system:node:b.
func splitPair(r string) (old, renamed string, ok bool) {
	if old, renamed, ok = strings.Cut(r, ","); ok {
		return old, renamed, old != "" && renamed != ""
	}
	parts := strings.Split(r, ":")
	half := len(parts) / 2
	old, renamed = strings.Join(parts[:half], ":"), strings.Join(parts[half:], ":")
	return old, renamed, len(parts)%2 == 0 && old != "" && renamed != ""
}

// splitKeyRule reads "name path", "name:path" or a name, colon or blank, and a key in PEM.
func splitKeyRule(r string) (name string, key []byte, err error) {
	at := strings.Index(r, "-----BEGIN")
	if at < 0 {
		if at = strings.LastIndex(r, " ") + 1; at == 0 {
			at = strings.LastIndex(r, ":") + 1
		}
	}
	if at == 0 || at >= len(r) {
		return "", nil, errors.New("cannot take option use_key_rules: a rule is not a name and a path or key")
	}
	key, err = inPlace(r[at:])
	return strings.TrimSuffix(strings.TrimSpace(r[:at]), ":"), key, err
}

// names takes what the cluster is called from now on.
func (f *recertFile) names(s *Settings) error {
	s.target.Hostname, s.target.NodeIPs, s.target.MachineNetworks = f.Hostname, f.IP, f.MachineNetworkCIDR
	if f.ClusterRename != "" {
		parts := strings.Split(f.ClusterRename, ":")
		if len(parts) != 2 && len(parts) != 3 {
			return fmt.Errorf("cannot take option cluster_rename: %q is not name:domain or name:domain:infraid", f.ClusterRename)
		}
		s.target.Domain = parts[0] + "." + parts[1]
		s.target.InfraID = infraID(parts)
	}
	return s.target.check()
}

// infraID is the third part, or the name with a random ending as OpenShift's installer makes it.
func infraID(parts []string) string {
	if len(parts) == 3 {
		return parts[2]
	}
	const longest, random = 27, 5
	name := parts[0][:min(len(parts[0]), longest-random-1)]
	return strings.TrimRight(name, "-") + "-" + rand.String(random)
}

// values takes what only the old cluster knows.
func (f *recertFile) values(s *Settings) error {
	add := func(r rule.Rule) { s.rules.Changes = append(s.rules.Changes, r) }
	for _, v := range []struct {
		text string
		rule func([]byte) rule.Rule
	}{{f.PullSecret, rule.PullSecret}, {f.InstallConfig, rule.InstallConfig}, {f.Chrony, rule.Chrony}} {
		if v.text != "" {
			add(v.rule([]byte(v.text)))
		}
	}
	if f.KubeadminHash != nil {
		add(rule.Kubeadmin([]byte(*f.KubeadminHash)))
	}
	if f.UserCABundle != "" {
		s.bundles[rule.UserBundle] = []byte(f.UserCABundle)
	}
	if f.ProxyCABundle != "" {
		name, bundle, found := strings.Cut(f.ProxyCABundle, ":")
		if !found {
			return errors.New("cannot take option proxy_trusted_ca_bundle: it is not the name of a ConfigMap, a colon and a bundle")
		}
		// The lifecycle-agent gives no bundle when it is the one that it gave as user_ca_bundle.
		if bundle != "" || s.bundles[name] == nil {
			s.bundles[name] = []byte(bundle)
		}
	}
	if f.Proxy != "" {
		p := strings.Split(f.Proxy, "|")
		if len(p) != 6 {
			return fmt.Errorf("cannot take option proxy: it has %d parts, not 6", len(p))
		}
		s.proxy = rule.ProxySettings{HTTP: p[3], HTTPS: p[4], No: p[5]}
		add(rule.Proxy(rule.ProxySettings{HTTP: p[0], HTTPS: p[1], No: p[2]}, s.proxy))
	}
	return nil
}
