package crypto_test

import (
	"bytes"
	"compress/gzip"
	"context"
	stdcrypto "crypto"
	"encoding/base64"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/reroot-dev/reroot/node-executor/crypto"
	"github.com/reroot-dev/reroot/node-executor/crypto/cryptotest"
	"github.com/reroot-dev/reroot/node-executor/crypto/etcd"
	"github.com/reroot-dev/reroot/node-executor/crypto/pki"
	"github.com/reroot-dev/reroot/node-executor/crypto/plan"
	"github.com/reroot-dev/reroot/node-executor/crypto/rename"
	"github.com/reroot-dev/reroot/node-executor/crypto/rule"
	"github.com/reroot-dev/reroot/node-executor/crypto/verify"
)

func gzipped(t testing.TB, text string) string {
	t.Helper()
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	if _, err := w.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

func gunzipped(t testing.TB, data []byte) string {
	t.Helper()
	r, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if _, err := out.ReadFrom(r); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

const (
	tlsKey        = "/kubernetes.io/secrets/ns/tls"
	tokenKey      = "/kubernetes.io/secrets/ns/sa-token"
	bundleKey     = "/kubernetes.io/configmaps/ns/bundle"
	kubeconfigKey = "/kubernetes.io/configmaps/ns/kubeconfig"
	machineKey    = "/kubernetes.io/machineconfiguration.openshift.io/machineconfigs/00-worker"
	nodeKey       = "/kubernetes.io/minions/sno-seed"
	bystanderKey  = "/kubernetes.io/configmaps/ns/bystander"
	kubeadminKey  = "/kubernetes.io/secrets/kube-system/kubeadmin"

	notBefore = "auth.openshift.io/certificate-not-before"
	notAfter  = "auth.openshift.io/certificate-not-after"
)

// objects are what the API server of the small cluster stored.
func (s small) objects(t testing.TB) map[string]string {
	b64 := func(text string) string { return base64.StdEncoding.EncodeToString([]byte(text)) }
	meta := func(name string) metav1.ObjectMeta { return metav1.ObjectMeta{Name: name, Namespace: "ns"} }
	return map[string]string{
		tlsKey: cryptotest.Stored(t, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "tls", Annotations: map[string]string{
			notBefore: cryptotest.Begin.Format(time.RFC3339), notAfter: cryptotest.End.Format(time.RFC3339), "other": "2026-01-02T03:04:05Z",
		}}, Data: map[string][]byte{
			"tls.crt": []byte(s.tree["pki/tls.crt"]), "tls.key": []byte(s.tree["pki/tls.key"]), "other": {0, 1, 2, 255},
		}}),
		tokenKey: cryptotest.Stored(t, &corev1.Secret{ObjectMeta: meta("sa-token"), Data: map[string][]byte{
			"token": []byte(s.tree["sa/token"]), "ca.crt": []byte(s.tree["pki/ca.crt"]),
		}}),
		bundleKey: cryptotest.Stored(t, &corev1.ConfigMap{ObjectMeta: meta("bundle"), Data: map[string]string{
			"ca-bundle.crt": s.tree["pki/bundle.pem"],
		}, BinaryData: map[string][]byte{"bundle.gz": []byte(gzipped(t, s.tree["pki/bundle.pem"]))}}),
		kubeconfigKey: cryptotest.Stored(t, &corev1.ConfigMap{ObjectMeta: meta("kubeconfig"), Data: map[string]string{
			"kubeconfig": handwritten(s.tree),
		}}),
		machineKey: `{"apiVersion":"machineconfiguration.openshift.io/v1","kind":"MachineConfig",  "spec":{"config":{"storage":{"files":[` +
			`{"path":"/a","contents":{"source":"data:text/plain;charset=utf-8;base64,` + b64(s.tree["pki/ca.crt"]) + `"}},` +
			`{"path":"/b","contents":{"source":"data:,` + percent(s.tree["pki/ca.crt"]) + `"}},` +
			`{"path":"/c","contents":{"compression":"gzip","source":"data:;base64,` + b64(gzipped(t, s.tree["pki/ca.crt"])) + `"}},` +
			`{"path":"/d","contents":{"inline":"` + strings.ReplaceAll(s.tree["pki/ca.crt"], "\n", `\n`) + `"}}]}}}}`,
		nodeKey:      cryptotest.Stored(t, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "sno-seed", Labels: map[string]string{"kubernetes.io/hostname": "sno-seed"}}}),
		kubeadminKey: cryptotest.Stored(t, &corev1.Secret{ObjectMeta: meta("kubeadmin"), Data: map[string][]byte{"kubeadmin": []byte("hash of the seed's password")}}),
		bystanderKey: cryptotest.Stored(t, &corev1.ConfigMap{ObjectMeta: meta("bystander"), Data: map[string]string{
			"words": "nothing to see in here",
		}}),
	}
}

// put stores the objects.
func (s small) put(ctx context.Context, t *testing.T, client *clientv3.Client) {
	t.Helper()
	for key, value := range s.objects(t) {
		if _, err := client.Put(ctx, key, value); err != nil {
			t.Fatal(err)
		}
	}
}

// store puts the objects into an etcd's new data directory.
func (s small) store(t *testing.T) etcd.DataDir {
	t.Helper()
	programs := cryptotest.EtcdPrograms(t)
	dir := filepath.Join(t.TempDir(), "etcd")
	cryptotest.ServeEtcd(t, programs["3.6"], dir, func(ctx context.Context, client *clientv3.Client) { s.put(ctx, t, client) })
	return etcd.DataDir{Dir: dir, Programs: programs, Runner: cryptotest.Runner{}}
}

func percent(text string) string {
	return strings.NewReplacer("\n", "%0A", " ", "%20", "+", "%2B", "=", "%3D").Replace(text)
}

func TestEtcd(t *testing.T) {
	programs := cryptotest.EtcdPrograms(t)
	for _, minor := range cryptotest.EtcdMinors {
		t.Run(minor, func(t *testing.T) {
			s := newSmall(t)
			before := s.objects(t)
			data := filepath.Join(t.TempDir(), "etcd")
			revisions := map[string]int64{}
			cryptotest.ServeEtcd(t, programs[minor], data, func(ctx context.Context, client *clientv3.Client) {
				for key, value := range before {
					put, err := client.Put(ctx, key, value)
					if err != nil {
						t.Fatal(err)
					}
					revisions[key] = put.Header.Revision
				}
			})
			dir := s.tree.write(t)
			config := configure(t, dir, plan.Rules{
				Validity: plan.Extend, Now: now,
				Renames: rename.Rules{rename.Hostname("sno-seed", "sno-target"), rename.Domain("seed.example", "target.example")},
				Changes: rule.Rules{rule.Kubeadmin([]byte("another"))},
			})
			config.Etcd = etcd.DataDir{Dir: data, Programs: programs, Runner: cryptotest.Runner{}}
			summary, err := crypto.Regenerate(t.Context(), config)
			if err != nil {
				t.Fatal(err)
			}
			after := read(t, dir)
			s.consistent(t, after)
			if got := summary.Sites["etcd"]; got != 8 {
				t.Errorf("got %d changes in etcd, want 8: six objects, and one created and one deleted for the renamed node", got)
			}
			checkStored(t, programs[minor], data, after, before, revisions)
			if now, err := etcd.Minor(filepath.Join(data, "member", "snap", "db")); err != nil || now != minor {
				t.Errorf("got version %q, %v; want %s as before", now, err, minor)
			}
			s.nothingLeft(t, data)
		})
	}
}

// checkStored serves the directory again and compares the objects with what the files say.
func checkStored(t *testing.T, program, data string, files tree, before map[string]string, revisions map[string]int64) {
	t.Helper()
	cryptotest.ServeEtcd(t, program, data, func(ctx context.Context, client *clientv3.Client) {
		get := func(key string) string {
			r, err := client.Get(ctx, key)
			if err != nil || len(r.Kvs) != 1 {
				t.Fatalf("cannot get %s: %v", key, err)
			}
			return string(r.Kvs[0].Value)
		}
		secret := cryptotest.Decoded(t, get(tlsKey), &corev1.Secret{})
		for name, file := range map[string]string{"tls.crt": "pki/tls.crt", "tls.key": "pki/tls.key"} {
			if string(secret.Data[name]) != files[file] {
				t.Errorf("secret's %s differs from %s", name, file)
			}
		}
		if !bytes.Equal(secret.Data["other"], []byte{0, 1, 2, 255}) {
			t.Error("secret's other data changed")
		}
		want := map[string]string{
			notBefore: now.Format(time.RFC3339), notAfter: now.Add(cryptotest.End.Sub(cryptotest.Begin)).Format(time.RFC3339), "other": "2026-01-02T03:04:05Z",
		}
		if diff := cmp.Diff(want, secret.Annotations); diff != "" {
			t.Errorf("annotations do not agree with the certificate:\n%s", diff)
		}
		if admin := cryptotest.Decoded(t, get(kubeadminKey), &corev1.Secret{}); string(admin.Data["kubeadmin"]) != "another" {
			t.Error("the administrator's password was not set")
		}
		if token := cryptotest.Decoded(t, get(tokenKey), &corev1.Secret{}); string(token.Data["token"]) != files["sa/token"] {
			t.Error("token in secret differs from the file's")
		}
		bundle := cryptotest.Decoded(t, get(bundleKey), &corev1.ConfigMap{})
		if bundle.Data["ca-bundle.crt"] != files["pki/bundle.pem"] || gunzipped(t, bundle.BinaryData["bundle.gz"]) != files["pki/bundle.pem"] {
			t.Error("bundle in config map differs from the file's")
		}
		renamedConfig := strings.ReplaceAll(handwritten(files), "seed.example", "target.example")
		if got := cryptotest.Decoded(t, get(kubeconfigKey), &corev1.ConfigMap{}).Data["kubeconfig"]; got != renamedConfig {
			t.Errorf("got kubeconfig\n%s\nwant\n%s", got, renamedConfig)
		}
		checkMachineConfig(t, get(machineKey), files["pki/ca.crt"])
		renamed := strings.Replace(nodeKey, "sno-seed", "sno-target", 1)
		node := cryptotest.Decoded(t, get(renamed), &corev1.Node{})
		if node.Name != "sno-target" || node.Labels["kubernetes.io/hostname"] != "sno-target" {
			t.Errorf("got node %v, want it renamed", node.ObjectMeta)
		}
		if r, err := client.Get(ctx, nodeKey); err != nil || len(r.Kvs) != 0 {
			t.Errorf("node's old key is still there: %v", err)
		}
		r, err := client.Get(ctx, bystanderKey)
		if err != nil || string(r.Kvs[0].Value) != before[bystanderKey] || r.Kvs[0].ModRevision != revisions[bystanderKey] {
			t.Errorf("an object without material was written: %v", err)
		}
	})
}

func checkMachineConfig(t *testing.T, value, ca string) {
	t.Helper()
	if !strings.HasPrefix(value, `{"apiVersion":"machineconfiguration.openshift.io/v1","kind":"MachineConfig",  "spec"`) {
		t.Error("machine config was written anew")
	}
	for name, want := range map[string]string{
		"base64":  base64.StdEncoding.EncodeToString([]byte(ca)),
		"percent": percent(ca)[:200],
		"inline":  strings.ReplaceAll(ca, "\n", `\n`),
	} {
		if !strings.Contains(value, want) {
			t.Errorf("machine config's %s certificate is not the new one", name)
		}
	}
	_, rest, _ := strings.Cut(value, `"data:;base64,`)
	text, _, _ := strings.Cut(rest, `"`)
	data, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		t.Fatal(err)
	}
	if gunzipped(t, data) != ca {
		t.Error("machine config's compressed certificate is not the new one")
	}
}

// nothingLeft searches all files of a data directory, log, snapshots and free pages included, for the old private keys.
func (s small) nothingLeft(t *testing.T, data string) {
	t.Helper()
	old := map[pki.KeyID]stdcrypto.Signer{}
	for _, key := range []stdcrypto.Signer{s.ca.Key, s.leaf.Key, s.account} {
		id, err := pki.IDOf(key.Public())
		if err != nil {
			t.Fatal(err)
		}
		old[id] = key
	}
	needles := verify.NewNeedles(old)
	for name, content := range read(t, data) {
		if key, found := needles.Find([]byte(content)); found {
			t.Errorf("%s still holds the old private key %s", name, key)
		}
	}
}

func TestEtcdOfAnotherMinorIsRefused(t *testing.T) {
	programs := cryptotest.EtcdPrograms(t)
	data := filepath.Join(t.TempDir(), "etcd")
	cryptotest.ServeEtcd(t, programs["3.5"], data, func(context.Context, *clientv3.Client) {})
	config := configure(t, t.TempDir(), plan.Rules{})
	config.Etcd = etcd.DataDir{Dir: data, Programs: map[string]string{"3.6": programs["3.6"]}, Runner: cryptotest.Runner{}}
	if _, err := crypto.Regenerate(t.Context(), config); !errors.Is(err, etcd.ErrVersion) {
		t.Errorf("got error %v, want %v", err, etcd.ErrVersion)
	}
}

// TestEtcdMember: the member is known by the node's new address afterwards, whenever the run was interrupted.
func TestEtcdMember(t *testing.T) {
	programs := cryptotest.EtcdPrograms(t)
	const old, renamed = "https://192.168.126.10:2380", "https://192.0.2.20:2380"
	for _, minor := range cryptotest.EtcdMinors {
		t.Run(minor, func(t *testing.T) {
			data := filepath.Join(t.TempDir(), "etcd")
			members := func(use func(context.Context, *clientv3.Client, *etcdserverpb.Member)) {
				cryptotest.ServeEtcd(t, programs[minor], data, func(ctx context.Context, client *clientv3.Client) {
					list, err := client.MemberList(ctx)
					if err != nil || len(list.Members) != 1 {
						t.Fatalf("members %v, %v", list, err)
					}
					use(ctx, client, list.Members[0])
				})
			}
			var id uint64
			members(func(ctx context.Context, client *clientv3.Client, m *etcdserverpb.Member) {
				id = m.ID
				if _, err := client.MemberUpdate(ctx, m.ID, []string{old, "https://192.168.126.100:2380"}); err != nil {
					t.Fatal(err)
				}
			})
			config := configure(t, t.TempDir(), plan.Rules{Renames: rename.Rules{rename.Address("192.168.126.10", "192.0.2.20")}})
			config.Etcd = etcd.DataDir{Dir: data, Programs: programs, Runner: cryptotest.Runner{}}
			for _, crash := range []string{"etcd.member", "etcd.compact", "etcd.log.write", ""} {
				config.Fault = func(point string) error {
					if point == crash {
						return errCrash
					}
					return nil
				}
				if _, err := crypto.Regenerate(t.Context(), config); (crash != "") != errors.Is(err, errCrash) || crash == "" && err != nil {
					t.Fatalf("crash at %q: %v", crash, err)
				}
			}
			members(func(_ context.Context, _ *clientv3.Client, m *etcdserverpb.Member) {
				if diff := cmp.Diff([]string{renamed, "https://192.168.126.100:2380"}, m.PeerURLs); diff != "" || m.ID != id {
					t.Errorf("member %x, which was %x (-want +got):\n%s", m.ID, id, diff)
				}
			})
		})
	}
}

// forgetful is an etcd whose data directory keeps what it should forget.
type forgetful struct{ etcd.DataDir }

func (forgetful) Forget(context.Context, func(string) error) error { return nil }

// Whatever an etcd keeps of old keys, in whatever file, is noticed.
func TestWhatEtcdKeepsIsNoticed(t *testing.T) {
	s := newSmall(t)
	dir := s.store(t)
	config := configure(t, s.tree.write(t), plan.Rules{Validity: plan.Extend, Now: now})
	config.Etcd = forgetful{dir}
	if _, err := crypto.Regenerate(t.Context(), config); err == nil || !strings.Contains(err.Error(), "cannot forget old private keys: file:"+dir.Dir) {
		t.Errorf("got error %v", err)
	}
	if _, err := crypto.Regenerate(t.Context(), config); err == nil { // a second attempt knows as much
		t.Error("it is not noticed by a second attempt")
	}
	config.Etcd = dir // and what was begun can be ended
	if _, err := crypto.Regenerate(t.Context(), config); err != nil {
		t.Error(err)
	}
	s.nothingLeft(t, dir.Dir)
}

// A copy of the database beside etcd's own files is noticed while nothing is changed.
func TestCopyBesideEtcd(t *testing.T) {
	s := newSmall(t)
	data := s.store(t)
	db, err := os.ReadFile(filepath.Join(data.Dir, "member", "snap", "db"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(data.Dir, "backup.db"), db, 0o600); err != nil {
		t.Fatal(err)
	}
	dir := s.tree.write(t)
	before := read(t, dir)
	config := configure(t, dir, plan.Rules{Validity: plan.Extend, Now: now})
	config.Etcd = data
	var refused *crypto.RefusedError
	if _, err := crypto.Regenerate(t.Context(), config); !errors.As(err, &refused) || !strings.Contains(err.Error(), "backup.db") {
		t.Errorf("got error %v", err)
	}
	if diff := cmp.Diff(before, read(t, dir)); diff != "" {
		t.Error(diff)
	}
}
