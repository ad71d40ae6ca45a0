package main_test

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	clientv3 "go.etcd.io/etcd/client/v3"
	"golang.org/x/crypto/ssh"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"github.com/reroot-dev/reroot/node-executor/crypto/cryptotest"
)

// buildDir is where built has put the program; TestMain removes it.
var buildDir string

// built is the program, built once for all tests.
var built = sync.OnceValues(func() (program string, err error) {
	if buildDir, err = os.MkdirTemp("", "reroot-node-"); err != nil {
		return "", err
	}
	program = filepath.Join(buildDir, "reroot-node")
	out, err := exec.Command("go", "build", "-o", program, ".").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%w: %s", err, out)
	}
	return program, os.Chmod(buildDir, 0o755)
})

type result struct {
	code           int
	stdout, stderr string
}

// seed is a small cluster that was copied from a seed: a node's files and its etcd's data directory.
type seed struct {
	t               *testing.T
	dir             string
	etcd            string // program
	authority, leaf cryptotest.Pair
	config          map[string]any
}

const (
	tlsKey  = "/kubernetes.io/secrets/ns/tls"
	nodeKey = "/kubernetes.io/minions/seed-node"

	hostKeyFile = "node/etc/ssh/ssh_host_ed25519_key"
)

func newSeed(t *testing.T) *seed {
	t.Helper()
	if _, err := built(); err != nil { // before a test says where temporary files go
		t.Fatal(err)
	}
	programs := cryptotest.EtcdPrograms(t)
	s := &seed{t: t, dir: t.TempDir(), etcd: programs["3.5"]}
	s.authority = cryptotest.Authority(t, "an-authority", cryptotest.EC(t))
	s.leaf = s.authority.Leaf(t, "api.seed.example", cryptotest.EC(t), cryptotest.Names("api.seed.example", "192.0.2.10"))
	s.write("node/etc/kubernetes/ca.crt", s.authority.PEM())
	s.write("node/etc/kubernetes/ca.key", s.authority.KeyPEM())
	s.write("node/etc/kubernetes/tls.crt", s.leaf.PEM())
	hostKey, err := ssh.MarshalPrivateKey(cryptotest.Ed(t), "")
	if err != nil {
		t.Fatal(err)
	}
	s.write(hostKeyFile, string(pem.EncodeToMemory(hostKey)))
	s.write("node/etc/mcs-machine-config-content.json", `{"ca":`+strconv.Quote(s.authority.PEM())+`}`)
	objects := map[string]string{
		"/kubernetes.io/config.openshift.io/dnses/cluster":           `{"kind":"DNS","spec":{"baseDomain":"seed.example"}}`,
		"/kubernetes.io/config.openshift.io/clusterversions/version": `{"kind":"ClusterVersion","spec":{"clusterID":"6b0b4dba-45e4-4b7e-8d8d-1f5a3c3f2a04"}}`,
		"/kubernetes.io/config.openshift.io/infrastructures/cluster": `{"kind":"Infrastructure","status":{"infrastructureName":"seed-x7k2p"}}`,
		nodeKey: cryptotest.Stored(t, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "seed-node"}, Status: corev1.NodeStatus{
			Addresses: []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: "192.0.2.10"}},
		}}),
		tlsKey: cryptotest.Stored(t, &corev1.Secret{Data: map[string][]byte{"tls.crt": []byte(s.leaf.PEM()), "tls.key": []byte(s.leaf.KeyPEM())}}),
		"/kubernetes.io/secrets/openshift-config/pull-secret": cryptotest.Stored(t, &corev1.Secret{Data: map[string][]byte{".dockerconfigjson": []byte(`{}`)}}),
		"/kubernetes.io/leases/ns/leader":                     cryptotest.Stored(t, &corev1.ConfigMap{}),
	}
	cryptotest.ServeEtcd(t, s.etcd, s.path("node/var/lib/etcd"), func(ctx context.Context, client *clientv3.Client) {
		for key, value := range objects {
			if _, err := client.Put(ctx, key, value); err != nil {
				t.Fatal(err)
			}
		}
	})
	s.config = map[string]any{
		"node": s.path("node"), "roots": []string{"/etc/kubernetes"}, "files": []string{"/etc/mcs-machine-config-content.json"},
		"etcd":    map[string]any{"programs": map[string]string{"3.5": s.etcd}},
		"journal": s.path("journal"), "summary": s.path("summary.yaml"), "validity": "extend",
		"cluster": map[string]any{"domain": "target.example", "infraID": "target-b2c4d", "hostname": "target-node", "nodeIPs": []string{"192.0.2.20"}},
		"values":  map[string]any{"pullSecret": s.write("pull-secret", `{"auths":{"mine":{}}}`)},
		"drop":    []string{"leases/*/*"}, "sshHostKeys": true,
	}
	return s
}

func (s *seed) path(name string) string { return filepath.Join(s.dir, name) }

func (s *seed) write(name, text string) (path string) {
	s.t.Helper()
	path = s.path(name)
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o600)); err != nil {
		s.t.Fatal(err)
	}
	return path
}

func (s *seed) read(name string) string {
	s.t.Helper()
	text, err := os.ReadFile(s.path(name))
	if err != nil {
		s.t.Fatal(err)
	}
	return string(text)
}

// run runs reroot-node crypto with the configuration.
func (s *seed) run(args ...string) result {
	s.t.Helper()
	text, err := yaml.Marshal(s.config)
	if err != nil {
		s.t.Fatal(err)
	}
	return run(s.t, append([]string{"crypto", args[0], "--config", s.write("config.yaml", string(text))}, args[1:]...)...)
}

func run(t *testing.T, args ...string) result {
	t.Helper()
	program, err := built()
	if err != nil {
		t.Fatal(err)
	}
	var stdout, stderr strings.Builder
	cmd := exec.CommandContext(t.Context(), program, args...)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	var exit *exec.ExitError
	if err := cmd.Run(); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return result{cmd.ProcessState.ExitCode(), stdout.String(), stderr.String()}
}

// files are all files of the node, by their path.
func (s *seed) files() map[string]string {
	s.t.Helper()
	all := map[string]string{}
	err := filepath.WalkDir(s.path("node"), func(path string, e os.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		text, err := os.ReadFile(path)
		all[path] = string(text)
		return err
	})
	if err != nil {
		s.t.Fatal(err)
	}
	return all
}

// values are what the node's own etcd serves.
func (s *seed) values() map[string]string {
	all := map[string]string{}
	cryptotest.ServeEtcd(s.t, s.etcd, s.path("node/var/lib/etcd"), func(ctx context.Context, client *clientv3.Client) {
		r, err := client.Get(ctx, "/", clientv3.WithPrefix())
		if err != nil {
			s.t.Fatal(err)
		}
		for _, kv := range r.Kvs {
			all[string(kv.Key)] = string(kv.Value)
		}
	})
	return all
}

// noSecrets checks that a text shows no line of a private key.
func (s *seed) noSecrets(what, text string, keys ...string) {
	s.t.Helper()
	for _, key := range keys {
		for line := range strings.Lines(key) {
			if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "-----") && strings.Contains(text, line) {
				s.t.Errorf("%s shows a private key", what)
			}
		}
	}
}

func TestCryptoRegenerate(t *testing.T) {
	s := newSeed(t)
	hostKey := s.read(hostKeyFile)
	got := s.run("regenerate")
	if got.code != 0 || !strings.Contains(got.stdout, "keys") || !strings.Contains(got.stdout, "fresh") {
		t.Fatalf("exit code %d:\n%s%s", got.code, got.stdout, got.stderr)
	}
	certificate, key := s.read("node/etc/kubernetes/tls.crt"), s.read("node/etc/kubernetes/ca.key")
	block, _ := pem.Decode([]byte(certificate))
	leaf, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(leaf.DNSNames, []string{"api.target.example"}) || leaf.IPAddresses[0].String() != "192.0.2.20" || certificate == s.leaf.PEM() {
		t.Errorf("got a certificate for %v %v", leaf.DNSNames, leaf.IPAddresses)
	}
	if key == s.authority.KeyPEM() {
		t.Error("the authority's key is the seed's")
	}
	if !strings.Contains(s.read("node/etc/mcs-machine-config-content.json"), strconv.Quote(s.read("node/etc/kubernetes/ca.crt"))) {
		t.Error("the single file was not changed")
	}
	if _, err := ssh.ParsePrivateKey([]byte(s.read(hostKeyFile))); err != nil || s.read(hostKeyFile) == hostKey {
		t.Errorf("the SSH server's key is the seed's or none: %v", err)
	}
	values := s.values()
	if strings.Contains(values[tlsKey], "PRIVATE KEY") == strings.Contains(values[tlsKey], strings.Split(s.leaf.KeyPEM(), "\n")[1]) {
		t.Error("the secret holds the old key or none")
	}
	if _, renamed := values["/kubernetes.io/minions/target-node"]; !renamed || values[nodeKey] != "" {
		t.Errorf("the node is not renamed: %v", slices.Sorted(maps.Keys(values)))
	}
	if !strings.Contains(values["/kubernetes.io/secrets/openshift-config/pull-secret"], `{"auths":{"mine":{}}}`) {
		t.Error("the pull secret was not set")
	}
	if _, left := values["/kubernetes.io/leases/ns/leader"]; left {
		t.Error("the lease was not dropped")
	}
	summary := s.read("summary.yaml")
	if !strings.Contains(summary, "fresh: ") || !strings.Contains(summary, "why: its private key is here") {
		t.Errorf("got summary:\n%s", summary)
	}
	s.noSecrets("the output", got.stdout+got.stderr+summary, s.authority.KeyPEM(), s.leaf.KeyPEM(), key, hostKey)

	// Once more: it is done already.
	before := s.files()
	if again := s.run("regenerate", "-o", "json"); again.code != 0 || !strings.Contains(again.stdout, `"fresh"`) {
		t.Errorf("exit code %d:\n%s", again.code, again.stderr)
	}
	if diff := cmp.Diff(before, s.files()); diff != "" {
		t.Error("a regeneration that was done was repeated")
	}
}

func TestCryptoReads(t *testing.T) {
	s := newSeed(t)
	copies := t.TempDir()
	t.Setenv("TMPDIR", copies)
	before := s.files()
	for name, tc := range map[string]struct {
		args []string
		want []string
	}{
		"plan":          {[]string{"regenerate", "--dry-run"}, []string{"WHAT", "an-authority", "fresh", "reissue", "pull secret", "domain"}},
		"plan as JSON":  {[]string{"regenerate", "--dry-run", "-o", "json"}, []string{`"keys"`, `"rules"`, `"action": "fresh"`}},
		"graph":         {[]string{"inspect"}, []string{`"certificates"`, `"name": "api.seed.example"`, `"findings"`, `"detail": "OPENSSH PRIVATE KEY"`, `"unread"`}},
		"graph for dot": {[]string{"inspect", "-o", "dot"}, []string{"digraph", "->", "an-authority"}},
		"check":         {[]string{"verify"}, []string{"consistent: 2 keys, 2 certificates, 0 tokens; "}},
		"check as JSON": {[]string{"verify", "-o", "json"}, []string{`"faults": []`}},
	} {
		t.Run(name, func(t *testing.T) {
			got := s.run(tc.args...)
			if got.code != 0 {
				t.Fatalf("exit code %d:\n%s", got.code, got.stderr)
			}
			for _, want := range tc.want {
				if !strings.Contains(got.stdout, want) {
					t.Errorf("%q is not in the output:\n%s", want, got.stdout)
				}
			}
			if strings.Contains(strings.Join(tc.want, ""), `"keys"`) && !json.Valid([]byte(got.stdout)) {
				t.Error("stdout is not JSON")
			}
			s.noSecrets("the output", got.stdout+got.stderr, s.authority.KeyPEM(), s.leaf.KeyPEM())
		})
	}
	if diff := cmp.Diff(before, s.files()); diff != "" {
		t.Error("a command that reads changed something")
	}
	if left, err := os.ReadDir(copies); err != nil || len(left) > 0 {
		t.Errorf("copies of etcd are left: %v, %v", left, err)
	}
}

func TestCryptoFailures(t *testing.T) {
	s := newSeed(t)
	foreign := cryptotest.Authority(t, "someone", cryptotest.EC(t)).PEM()
	for name, tc := range map[string]struct {
		args   []string
		change func()
		code   int
		want   string
	}{
		"no file":        {[]string{"regenerate"}, func() { s.config["values"] = map[string]any{"chrony": "/none"} }, 2, "because: cannot use configuration"},
		"unknown option": {[]string{"regenerate"}, func() { s.config["jurnal"] = "/x" }, 2, `there is no option "jurnal"`},
		"another output": {[]string{"inspect", "-o", "yaml"}, func() {}, 2, `--output "yaml" is not one of json, dot`},
		"no journal":     {[]string{"regenerate"}, func() { delete(s.config, "journal") }, 2, "directory for work in progress"},
		"refused":        {[]string{"regenerate"}, func() { s.write("node/etc/kubernetes/foreign.crt", foreign) }, 6, "because: 1 problem found in the plan\n  key "},
		"refused plan":   {[]string{"regenerate", "--dry-run"}, func() { s.write("node/etc/kubernetes/foreign.crt", foreign) }, 6, "do: mend what is listed"},
		"no program": {[]string{"inspect"}, func() { s.config["etcd"] = map[string]any{"programs": map[string]string{"3.6": s.etcd}} }, 1,
			"do: name under etcd.programs"},
		"no etcd": {[]string{"inspect"}, func() {
			s.config["etcd"] = map[string]any{"dir": "/none", "programs": map[string]string{"3.5": s.etcd}}
		}, 1,
			"error: cannot read the cluster's cryptography\nbecause: cannot read etcd's version"},
		"recert's, not here": {[]string{"regenerate"}, func() { s.config = map[string]any{"postprocess_only": true, "crypto_dirs": []string{"/kubernetes"}} }, 2,
			"error: cannot take option postprocess_only\nbecause: "},
		"does not fit": {[]string{"verify"}, func() { s.write("node/etc/kubernetes/tls.key", cryptotest.KeyPEM(cryptotest.EC(t))) }, 1,
			"error: cannot confirm that the cluster's cryptography is consistent\nbecause: 1 thing does not fit\n  key "},
	} {
		t.Run(name, func(t *testing.T) {
			kept := maps.Clone(s.config)
			made := []string{s.path("node/etc/kubernetes/foreign.crt"), s.path("node/etc/kubernetes/tls.key")}
			defer func() {
				s.config = kept
				for _, path := range made {
					_ = os.Remove(path)
				}
			}()
			before := s.files()
			tc.change()
			got := s.run(tc.args...)
			if got.code != tc.code || !strings.Contains(got.stderr, tc.want) {
				t.Errorf("exit code %d, want %d with %q:\n%s", got.code, tc.code, tc.want, got.stderr)
			}
			after := s.files()
			for _, path := range made {
				delete(after, path)
			}
			if name != "refused" && !cmp.Equal(before, after) { // etcd was opened, and wrote to its log
				t.Error("a command that failed changed something")
			}
		})
	}
}

// A dump of the process would hold private keys. What forbids one shows in who owns its directory in /proc.
func TestCryptoIsNotDumped(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root, to become somebody else")
	}
	const nobody = 65534
	dir, err := os.MkdirTemp("", "reroot-dump-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	s := newSeed(t)
	told := filepath.Join(dir, "told")
	spy := filepath.Join(dir, "etcd") // is started as the etcd of the directory, and looks at who started it
	script := "#!/bin/sh\nstat -c %u /proc/$PPID/environ > " + told + "\ngrep 'Max core' /proc/self/limits >> " + told + "\n"
	config := fmt.Sprintf("node: %s\nroots: [/etc]\nfiles: []\netcd: {programs: {\"3.5\": %s}}\n", dir, spy)
	data := filepath.Join(dir, "var/lib/etcd")
	if err := errors.Join(
		os.WriteFile(spy, []byte(script), 0o755), os.WriteFile(filepath.Join(dir, "config"), []byte(config), 0o644),
		os.MkdirAll(filepath.Join(dir, "etc"), 0o755), os.MkdirAll(filepath.Dir(data), 0o755),
		os.CopyFS(data, os.DirFS(s.path("node/var/lib/etcd"))),
		filepath.WalkDir(dir, func(path string, _ os.DirEntry, err error) error {
			return errors.Join(err, os.Chown(path, nobody, nobody))
		}),
	); err != nil {
		t.Fatal(err)
	}
	program, err := built()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), program, "crypto", "inspect", "--config", filepath.Join(dir, "config"))
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	out, err := cmd.CombinedOutput()
	if err == nil {
		t.Fatal("it did without an etcd")
	}
	text, err := os.ReadFile(told)
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	lines := strings.Split(string(text), "\n")
	if lines[0] != "0" {
		t.Errorf("its directory in /proc belongs to %s, so it can be dumped", lines[0])
	}
	if fields := strings.Fields(lines[1]); len(fields) < 6 || fields[4] != "0" || fields[5] != "0" {
		t.Errorf("what it starts can be dumped: %s", lines[1])
	}
}
