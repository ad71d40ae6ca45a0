package crypto_test

import (
	"bytes"
	stdcrypto "crypto"
	"encoding/pem"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sync/errgroup"
	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"

	"github.com/reroot-dev/reroot/node-executor/crypto"
	"github.com/reroot-dev/reroot/node-executor/crypto/cryptotest"
	"github.com/reroot-dev/reroot/node-executor/crypto/cryptotest/fixture"
	"github.com/reroot-dev/reroot/node-executor/crypto/etcd"
	"github.com/reroot-dev/reroot/node-executor/crypto/files"
	"github.com/reroot-dev/reroot/node-executor/crypto/graph"
	"github.com/reroot-dev/reroot/node-executor/crypto/pki"
	"github.com/reroot-dev/reroot/node-executor/crypto/plan"
	"github.com/reroot-dev/reroot/node-executor/crypto/site"
	"github.com/reroot-dev/reroot/node-executor/crypto/verify"
	"github.com/reroot-dev/reroot/test/lab/cluster"
)

var full = flag.Bool("full", false, "prove the regeneration on a cluster of a single node's real size, and kill it at many steps")

// TestProof regenerates a generated cluster of OKD's shape into another one and lets others judge: a real etcd and a real
// API server that run on the result, OpenSSL, and a search for every old private key in every byte that is left.
func TestProof(t *testing.T) {
	size := 0
	if *full {
		size = 1
	}
	seed := fixture.New(t, fixture.Options{Size: size, Seed: 1, Name: "seed", NewKey: cryptotest.NewKeys("seed").Make})
	l := lab{seed.Programs}
	target := l.provision(t, "target", "3.6")
	stored := seed.Objects(t)
	strangers := kubeconfigs(t, seed.Cluster, seed.Identity.APIURL(), stored)
	strangers["administrator"] = clientConfig(t, seed.AdminKubeconfig)
	place := seed.Place(t.TempDir())
	config := place.Config()
	before, err := crypto.Inspect(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	if got := opensslRefuses(t, before); got != nil {
		t.Fatalf("before anything was done, OpenSSL refuses: %v", got)
	}

	config.Generate = cryptotest.NewKeys("fresh").Make
	config.Rules = asTarget(t, l, config.Rules, seed.Cluster, target)
	summary, err := crypto.Regenerate(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	logSummary(t, summary)
	t.Run("what objects say about others is as true as it was", func(t *testing.T) {
		agreesStill(t, config.Rules.Renames, stored, seed.Objects(t))
	})
	renewed := target.Identity
	renewed.Etcd = seed.Identity.Etcd
	clients := kubeconfigs(t, seed.Cluster, renewed.APIURL(), seed.Objects(t))
	plane, err := cluster.Start(t.Context(), cluster.StartOptions{Etc: seed.Etc, Var: seed.Var, Programs: seed.Programs, Identity: renewed})
	if err != nil {
		t.Fatal(err)
	}
	t.Run("the target's administrator is let in", func(t *testing.T) {
		if user := whoami(t, clientConfig(t, target.AdminKubeconfig)); user != "system:admin" {
			t.Errorf("got user %q", user)
		}
	})
	t.Run("every kubeconfig of the cluster is let in", func(t *testing.T) { letsIn(t, clients) })
	t.Run("every kubeconfig of the seed is refused", func(t *testing.T) { refusesStrangers(t, plane.Config, strangers) })
	t.Run("tokens", func(t *testing.T) { reviewAllTokens(t, plane.Config, seed.Tokens) })
	if err := plane.Stop(); err != nil {
		t.Fatal(err)
	}
	t.Run("OpenSSL verifies every certificate", func(t *testing.T) {
		config.Journal = filepath.Join(t.TempDir(), "journal")
		after, err := crypto.Inspect(t.Context(), config)
		if err != nil {
			t.Fatal(err)
		}
		if got := opensslRefuses(t, after); got != nil {
			t.Errorf("refused: %v", got)
		}
	})
	t.Run("no old private key is left", func(t *testing.T) { nothingOld(t, place, before) })
}

// asTarget completes the rules by what makes the seed the target: its names, and the authorities that its clients trust.
func asTarget(t *testing.T, l lab, rules plan.Rules, seed, target *cluster.Cluster) plan.Rules {
	t.Helper()
	kept := keep(t, l.objects(t, target))
	rules.KeepKeys, rules.KeepCertificates = kept.KeepKeys, kept.KeepCertificates
	rules.Renames = identity(seed.Identity, target.Identity)
	router := keepKey(t, l.objects(t, seed), "openshift-ingress-operator/router-ca").CommonName
	for i, k := range rules.KeepKeys {
		if strings.HasPrefix(k.CommonName, "ingress-operator@") {
			// The seed's name ends in another time: it gets the target's.
			rules.KeepKeys[i].CommonName, rules.Names = router, map[string]string{router: k.CommonName}
		}
	}
	return rules
}

// reviewAllTokens asks the API server about every token in a Secret and every one that the seed's accepted.
func reviewAllTokens(t *testing.T, config *rest.Config, old []string) {
	config = rest.CopyConfig(config)
	config.QPS = -1 // no limit of the client's own
	c := clientset(t, config)
	accepted := func(token string) bool {
		r, err := c.AuthenticationV1().TokenReviews().Create(t.Context(), &authenticationv1.TokenReview{Spec: authenticationv1.TokenReviewSpec{Token: token}}, metav1.CreateOptions{})
		if err != nil {
			t.Error(err)
			return false
		}
		return r.Status.Authenticated
	}
	secrets, err := c.CoreV1().Secrets("").List(t.Context(), metav1.ListOptions{FieldSelector: "type=kubernetes.io/service-account-token"})
	if err != nil || len(secrets.Items) != len(old) {
		t.Fatalf("got %d tokens, error %v; want %d", len(secrets.Items), err, len(old))
	}
	var group errgroup.Group
	group.SetLimit(8)
	for i, s := range secrets.Items {
		group.Go(func() error {
			if !accepted(string(s.Data["token"])) {
				t.Errorf("token of %s/%s is refused", s.Namespace, s.Name)
			}
			if accepted(old[i]) {
				t.Error("a token of the seed is accepted")
			}
			return nil
		})
	}
	_ = group.Wait() // the tests' own errors
}

// opensslRefuses verifies every certificate whose issuer is known, with all self-signed certificates as anchors and all
// other authorities as intermediates, and returns OpenSSL's complaints.
func opensslRefuses(t *testing.T, g *graph.Graph) []string {
	t.Helper()
	dir := t.TempDir()
	var anchors, between bytes.Buffer
	args := []string{"verify", "-no_check_time", "-CAfile", filepath.Join(dir, "anchors"), "-untrusted", filepath.Join(dir, "between")}
	for i, c := range g.SortedCertificates() {
		text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.DER})
		switch {
		case c.Issuer == nil:
			continue
		case c.SelfSigned():
			anchors.Write(text)
			continue
		case len(c.Key.Signed) > 0:
			between.Write(text)
		}
		name := filepath.Join(dir, fmt.Sprint(i))
		if err := os.WriteFile(name, text, 0o600); err != nil {
			t.Fatal(err)
		}
		args = append(args, name)
	}
	for name, content := range map[string][]byte{"anchors": anchors.Bytes(), "between": between.Bytes()} {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	out, err := exec.CommandContext(t.Context(), "openssl", args...).CombinedOutput()
	var refused []string
	good := 0
	for line := range strings.Lines(string(out)) {
		if strings.HasSuffix(line, ": OK\n") {
			good++
		} else {
			refused = append(refused, strings.TrimSpace(line))
		}
	}
	if err != nil && len(refused) == 0 {
		refused = append(refused, err.Error())
	}
	t.Logf("OpenSSL accepts %d certificates", good)
	return refused
}

// nothingOld looks for every private key of the seed: in the bytes of every file that is left, those of etcd and the
// journal's directory included, and in every layer of every object. And it looks for what a regeneration uses on its way and
// must not leave: new contents beside files, a prepared journal, an unfinished log.
func nothingOld(t *testing.T, place fixture.Place, seed *graph.Graph) {
	t.Helper()
	old := map[pki.KeyID]stdcrypto.Signer{}
	for id, k := range seed.Keys {
		if k.Private != nil {
			old[id] = k.Private
		}
	}
	needles := verify.NewNeedles(old)
	searched := 0
	for _, dir := range []string{place.Etc, place.Var, place.Scratch} {
		err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
			if name := entry.Name(); strings.HasPrefix(name, "prepared") || strings.Contains(name, "reroot") || strings.HasSuffix(name, ".new") {
				t.Errorf("%s was left", path)
			}
			if err != nil || !entry.Type().IsRegular() {
				return err
			}
			content, err := os.ReadFile(path)
			if owner, found := needles.Find(content); found {
				t.Errorf("%s holds the private key %s", path, owner)
			}
			searched++
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	config := place.Config()
	tree, err := files.New(config.Roots, nil)
	if err != nil {
		t.Fatal(err)
	}
	client, stop, err := config.Etcd.Open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	problems, err := verify.NoSecrets(t.Context(), site.Sources{tree, etcd.New(client)}, nil, needles)
	if err := errors.Join(err, stop()); err != nil || len(problems) > 0 {
		t.Errorf("got %v, %v", problems, err)
	}
	if done, err := os.ReadDir(config.Journal); err != nil || len(done) == 0 {
		t.Errorf("the journal's directory has %v, %v", done, err)
	}
	t.Logf("%d private keys in none of %d files", len(old), searched)
}
