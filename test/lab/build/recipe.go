package build

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// Versions that programs say they are, as their modules require.
const (
	kubernetesVersion = "v1.37.2"
	veleroVersion     = "v1.18.3"
)

// etcdModules is what the directories of the product's etcds begin with: what the engine opens data directories with
// serves the lab's control planes as well.
const etcdModules = "node-executor/crypto/etcd/etcd-"

// recipe says how one third-party executable is made.
type recipe struct {
	name    string
	module  string // directory of its module, from the repository's root
	beside  string // directory of another module of ours that it uses, if it does
	pkg     string // main package, from there
	ldflags string
	what    string // what it contains, for the log
	takes   string // with an empty Go build cache, for the log
}

// strip leaves symbols and debug information out: half of these executables.
const strip = "-s -w"

// arguments are those of the go command, in r's module, that make the file out.
func (r recipe) arguments(out string) []string {
	return []string{"build", "-trimpath", "-ldflags", r.ldflags, "-o", out, r.pkg}
}

var recipes = []recipe{
	{
		name: "hyperkube", module: "test/lab/controlplane", pkg: ".", ldflags: strip + kubernetesFlags(kubernetesVersion),
		what: "kube-apiserver and kube-controller-manager " + kubernetesVersion, takes: "7 minutes",
	},
	{name: "etcd-3.5", module: etcdModules + "3.5", beside: "node-executor/heap", pkg: ".", ldflags: strip, what: "etcd v3.5.21", takes: "1 minute"},
	{name: "etcd-3.6", module: etcdModules + "3.6", beside: "node-executor/heap", pkg: ".", ldflags: strip, what: "etcd v3.6.6", takes: "1 minute"},
	{name: "etcd-3.7", module: etcdModules + "3.7", beside: "node-executor/heap", pkg: ".", ldflags: strip, what: "etcd v3.7.3", takes: "1 minute"},
	{
		name: "velero", module: "test/lab/velero", pkg: ".",
		ldflags: strip + " -X github.com/vmware-tanzu/velero/pkg/buildinfo.Version=" + veleroVersion,
		what:    "velero " + veleroVersion, takes: "4 minutes",
	},
	{
		name: "velero-plugin-for-aws", module: "test/lab/velero-plugin-aws", ldflags: strip,
		pkg:  "github.com/vmware-tanzu/velero-plugin-for-aws/velero-plugin-for-aws",
		what: "velero-plugin-for-aws v1.14.3", takes: "3 minutes",
	},
	{name: "s3", module: "test/lab/s3", pkg: ".", ldflags: strip, what: "gofakes3 v1.2.0", takes: "10 seconds"},
}

// kubernetesFlags are the linker flags that Kubernetes's own build takes its
// version from; without them it calls itself v0.0.0. The date is fixed so that
// the same sources make the same file.
func kubernetesFlags(version string) string {
	parts := strings.Split(strings.TrimPrefix(version, "v"), ".")
	var flags strings.Builder
	for _, set := range [][2]string{
		{"gitVersion", version},
		{"gitMajor", parts[0]},
		{"gitMinor", parts[1]},
		{"gitCommit", "unknown"},
		{"gitTreeState", "archive"},
		{"buildDate", "1970-01-01T00:00:00Z"},
	} {
		fmt.Fprintf(&flags, " -X k8s.io/component-base/version.%s=%s", set[0], set[1])
	}
	return flags.String()
}

// hash is a digest of everything that decides what the executable contains: the
// recipe, the toolchain, and the path and content of each file of its module.
func (r recipe) hash(root, toolchain string) (string, error) {
	sum := sha256.New()
	fmt.Fprintf(sum, "%q %q %q\n", toolchain, binaryFlags, r.arguments(""))
	err := hashBelow(sum, filepath.Join(root, r.module))
	if err == nil && r.beside != "" {
		err = hashBelow(sum, filepath.Join(root, r.beside))
	}
	return hex.EncodeToString(sum.Sum(nil))[:12], err
}

// hashBelow hashes the names and contents of all files of a directory.
func hashBelow(sum io.Writer, dir string) error {
	module := os.DirFS(dir)
	return fs.WalkDir(module, ".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		data, err := fs.ReadFile(module, path)
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(sum, "%q %x\n", path, sha256.Sum256(data))
		return err
	})
}
