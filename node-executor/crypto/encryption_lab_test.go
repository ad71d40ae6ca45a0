package crypto_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/reroot-dev/reroot/node-executor/crypto"
	"github.com/reroot-dev/reroot/node-executor/crypto/atrest"
	"github.com/reroot-dev/reroot/node-executor/crypto/cryptotest"
	"github.com/reroot-dev/reroot/node-executor/crypto/etcd"
	"github.com/reroot-dev/reroot/node-executor/crypto/files"
	"github.com/reroot-dev/reroot/node-executor/crypto/plan"
	"github.com/reroot-dev/reroot/test/lab/cluster"
)

const word = "stored encrypted and never material"

// modes are the kinds of object that the lab's API server is told to encrypt, each in another mode.
var modes = []struct {
	mode   atrest.Mode
	prefix string // in etcd
	create func(*testing.T, kubernetes.Interface)
	read   func(*testing.T, kubernetes.Interface) string
}{
	{atrest.CBC, "/kubernetes.io/secrets/default/sealed", func(t *testing.T, c kubernetes.Interface) {
		s := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "sealed"}, Data: map[string][]byte{"word": []byte(word)}}
		_, err := c.CoreV1().Secrets("default").Create(t.Context(), s, metav1.CreateOptions{})
		check(t, err)
	}, func(t *testing.T, c kubernetes.Interface) string {
		s, err := c.CoreV1().Secrets("default").Get(t.Context(), "sealed", metav1.GetOptions{})
		check(t, err)
		return string(s.Data["word"])
	}},
	{atrest.GCM, "/kubernetes.io/configmaps/default/sealed", func(t *testing.T, c kubernetes.Interface) {
		m := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "sealed"}, Data: map[string]string{"word": word}}
		_, err := c.CoreV1().ConfigMaps("default").Create(t.Context(), m, metav1.CreateOptions{})
		check(t, err)
	}, func(t *testing.T, c kubernetes.Interface) string {
		m, err := c.CoreV1().ConfigMaps("default").Get(t.Context(), "sealed", metav1.GetOptions{})
		check(t, err)
		return m.Data["word"]
	}},
	{atrest.Secretbox, "/kubernetes.io/limitranges/default/sealed", func(t *testing.T, c kubernetes.Interface) {
		l := &corev1.LimitRange{ObjectMeta: metav1.ObjectMeta{Name: "sealed", Annotations: map[string]string{"word": word}}}
		_, err := c.CoreV1().LimitRanges("default").Create(t.Context(), l, metav1.CreateOptions{})
		check(t, err)
	}, func(t *testing.T, c kubernetes.Interface) string {
		l, err := c.CoreV1().LimitRanges("default").Get(t.Context(), "sealed", metav1.GetOptions{})
		check(t, err)
		return l.Annotations["word"]
	}},
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// encrypts puts a configuration of all modes on the node's disk and into the API server's manifest.
func encrypts(t *testing.T, etc string) (file string) {
	t.Helper()
	text := "apiVersion: apiserver.config.k8s.io/v1\nkind: EncryptionConfiguration\nresources:\n"
	for i, resource := range []string{"secrets", "configmaps", "limitranges"} {
		text += "- resources: [" + resource + "]\n  providers:\n  - " + string(modes[i].mode) + ":\n      keys:\n      - name: \"1\"\n" +
			"        secret: " + b64(atrest.NewKey(make([]byte, 32))) + "\n  - identity: {}\n"
	}
	file = filepath.Join(etc, configFile)
	check(t, os.MkdirAll(filepath.Dir(file), 0o700))
	check(t, os.WriteFile(file, []byte(text), 0o600))
	manifest := filepath.Join(etc, strings.TrimPrefix(cluster.ManifestDir, "/etc/"), "kube-apiserver.yaml")
	pod, err := os.ReadFile(manifest)
	check(t, err)
	const after = "    - --allow-privileged=true\n"
	if !strings.Contains(string(pod), after) {
		t.Fatalf("cannot add a flag to %s", pod)
	}
	check(t, os.WriteFile(manifest, []byte(strings.Replace(string(pod), after, after+"    - --encryption-provider-config=/etc/"+configFile+"\n", 1)), 0o600))
	return file
}

// What a real API server encrypted in each mode, a real API server reads after the regeneration, with other keys.
func TestEncryptingAPIServer(t *testing.T) {
	l := newLab(t)
	seed := l.provision(t, "seed", "3.6")
	configuration := encrypts(t, seed.Etc)
	serve := func(use func(*testing.T, kubernetes.Interface)) {
		plane, err := cluster.Start(t.Context(), cluster.StartOptions{Etc: seed.Etc, Var: seed.Var, Programs: l.programs, Identity: seed.Identity})
		check(t, err)
		defer func() {
			if err := plane.Stop(); err != nil {
				t.Error(err)
			}
		}()
		use(t, clientset(t, plane.Config))
	}
	serve(func(t *testing.T, c kubernetes.Interface) {
		for _, m := range modes {
			m.create(t, c)
		}
	})
	text, err := os.ReadFile(configuration)
	check(t, err)
	old, before := keysOf(t, string(text)), l.objects(t, seed)
	_, err = crypto.Regenerate(t.Context(), crypto.Config{
		Roots: []files.Root{{Host: seed.Etc, Node: "/etc"}, {Host: filepath.Join(seed.Var, "lib/kubelet"), Node: "/var/lib/kubelet"}},
		Etcd:  etcd.DataDir{Dir: filepath.Join(seed.Var, "lib/etcd"), Programs: map[string]string{"3.6": l.programs["etcd-3.6"]}, Runner: cryptotest.Runner{}},
		Rules: plan.Rules{Own: plan.DefaultOwn, External: plan.DefaultExternal, Validity: plan.Extend, Now: time.Now()}, Journal: filepath.Join(t.TempDir(), "journal"),
	})
	check(t, err)
	text, err = os.ReadFile(configuration)
	check(t, err)
	renewed, after := atrest.NewRing(keysOf(t, string(text))...), l.objects(t, seed)
	for i, m := range modes {
		was, _, err := atrest.NewRing(old[i]).Open(m.prefix, []byte(before[m.prefix]))
		if err != nil || was.Mode != m.mode {
			t.Errorf("the API server did not encrypt in %s: %v", m.mode, err)
		}
		if is, _, err := renewed.Open(m.prefix, []byte(after[m.prefix])); err != nil || is.Mode != m.mode || is.Key == was.Key {
			t.Errorf("%s: not encrypted anew: %v", m.prefix, err)
		}
	}
	serve(func(t *testing.T, c kubernetes.Interface) {
		for _, m := range modes {
			t.Run(string(m.mode), func(t *testing.T) {
				if got := m.read(t, c); got != word {
					t.Errorf("got %q, want %q", got, word)
				}
			})
		}
	})
}
