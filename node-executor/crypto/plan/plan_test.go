package plan_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"slices"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/reroot-dev/reroot/node-executor/crypto/cryptotest"
	"github.com/reroot-dev/reroot/node-executor/crypto/pki"
	"github.com/reroot-dev/reroot/node-executor/crypto/plan"
	"github.com/reroot-dev/reroot/node-executor/crypto/rename"
	"github.com/reroot-dev/reroot/node-executor/crypto/rule"
	"github.com/reroot-dev/reroot/node-executor/crypto/scan"
	"github.com/reroot-dev/reroot/node-executor/crypto/site"
)

func decide(t *testing.T, k cryptotest.Values, rules plan.Rules) *plan.Plan {
	t.Helper()
	if err := rules.Check(); err != nil {
		t.Fatal(err)
	}
	found, err := scan.Scan(context.Background(), []site.Source{k}, scan.Options{Rules: scan.Rules{Renames: rules.Renames, Changes: rules.Changes}.Known})
	if err != nil {
		t.Fatal(err)
	}
	return plan.Decide(found, rules)
}

// action returns what becomes of the keys of certificates with a name.
func action(p *plan.Plan, name string) plan.Action {
	for _, d := range p.Keys {
		for _, c := range d.Key.Certificates {
			if c.CommonName == name {
				return d.Action
			}
		}
	}
	return ""
}

func TestDecisions(t *testing.T) {
	ca := cryptotest.Authority(t, "ca", cryptotest.EC(t))
	lost := cryptotest.Authority(t, "lost", cryptotest.EC(t)) // its private key is nowhere
	lostLeaf := lost.Leaf(t, "leaf of lost", cryptotest.EC(t))
	public := cryptotest.Authority(t, "public", cryptotest.EC(t))
	publicInner := public.Intermediate(t, "public inner", cryptotest.EC(t))
	elsewhere := ca.Leaf(t, "client elsewhere", cryptotest.EC(t))
	for _, test := range []struct {
		name    string
		keys    cryptotest.Values
		rules   plan.Rules
		want    map[string]plan.Action
		problem string
	}{
		{"a private key is the cluster's", cryptotest.Values{"a": ca.PEM() + ca.KeyPEM()}, plan.Rules{}, map[string]plan.Action{"ca": plan.Fresh}, ""},
		{"even in a list of others", cryptotest.Values{"trust": ca.PEM(), "a": ca.KeyPEM()}, plan.Rules{External: []string{"etcd:trust"}}, map[string]plan.Action{"ca": plan.Fresh}, ""},
		{"an authority is the cluster's by what it signed", cryptotest.Values{"a": lost.PEM() + lostLeaf.PEM() + lostLeaf.KeyPEM()}, plan.Rules{}, map[string]plan.Action{"lost": plan.Fresh, "leaf of lost": plan.Fresh}, ""},
		{"or by its name", cryptotest.Values{"a": lost.PEM()}, plan.Rules{Own: []string{"lo*"}}, map[string]plan.Action{"lost": plan.Fresh}, ""},
		{"but not if others list it", cryptotest.Values{"a": lost.PEM(), "trust": lost.PEM()}, plan.Rules{Own: []string{"lo*"}, External: []string{"etcd:trust"}}, map[string]plan.Action{"lost": plan.Kept}, ""},
		{"what the cluster signed for a key elsewhere is worth nothing", cryptotest.Values{"a": ca.PEM() + ca.KeyPEM() + elsewhere.PEM()}, plan.Rules{}, map[string]plan.Action{"client elsewhere": plan.Fresh}, ""},
		{"an unknown authority is refused", cryptotest.Values{"a": public.PEM()}, plan.Rules{}, nil, "neither known as the cluster's"},
		{"or kept", cryptotest.Values{"a": public.PEM() + publicInner.PEM()}, plan.Rules{Unknown: plan.Keep}, map[string]plan.Action{"public": plan.Kept, "public inner": plan.Kept}, ""},
		{"or replaced, with all that it signed", cryptotest.Values{"a": public.PEM() + publicInner.PEM()}, plan.Rules{Unknown: plan.Replace}, map[string]plan.Action{"public": plan.Fresh, "public inner": plan.Fresh}, ""},
		{"an unknown public key is refused", cryptotest.Values{"a": cryptotest.PublicPEM(cryptotest.EC(t).Public())}, plan.Rules{}, nil, "neither known as the cluster's"},
		{"a dropped key is not looked at", cryptotest.Values{"/kubernetes.io/events/x": lostLeaf.PEM() + lostLeaf.KeyPEM()}, plan.Rules{Changes: rule.Rules{rule.Drop("events", "", "events/*")}}, map[string]plan.Action{"leaf of lost": ""}, ""},
		{"an authority kept as a certificate signs nothing any more", cryptotest.Values{"a": lost.PEM() + lostLeaf.PEM() + lostLeaf.KeyPEM()},
			plan.Rules{KeepCertificates: []plan.KeepCertificate{{CommonName: "lost", Certificate: parse(t, public)}}}, nil, "cannot be issued again"},
	} {
		t.Run(test.name, func(t *testing.T) {
			p := decide(t, test.keys, test.rules)
			var texts []string
			for _, problem := range p.Problems {
				texts = append(texts, problem.String())
			}
			got := strings.Join(texts, "; ")
			if !strings.Contains(got, test.problem) || test.problem == "" && got != "" {
				t.Errorf("got problems %s, want %q", got, test.problem)
			}
			for name, want := range test.want {
				if got := action(p, name); got != want {
					t.Errorf("key of %s: %q, want %q", name, got, want)
				}
			}
		})
	}
}

func parse(t *testing.T, p cryptotest.Pair) *pki.Certificate {
	t.Helper()
	c, err := pki.ParseCertificate(p.Certificate.Raw)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// After a rotation two generations of an authority have one name: the rule's site tells which is meant.
func TestKeepKeyBySite(t *testing.T) {
	first, second := cryptotest.Authority(t, "signer", cryptotest.EC(t)), cryptotest.Authority(t, "signer", cryptotest.EC(t))
	k := cryptotest.Values{"/secrets/ns/old": first.PEM() + first.KeyPEM(), "/secrets/ns/new": second.PEM() + second.KeyPEM()}
	rule := plan.KeepKey{CommonName: "signer", Key: cryptotest.EC(t)}
	if p := decide(t, k, plan.Rules{KeepKeys: []plan.KeepKey{rule}}); len(p.Problems) != 1 {
		t.Errorf("got problems %v, want one about two keys", p.Problems)
	}
	rule.Site = "/secrets/ns/new"
	p := decide(t, k, plan.Rules{KeepKeys: []plan.KeepKey{rule}})
	if len(p.Problems) != 0 {
		t.Fatal(p.Problems)
	}
	want, err := pki.IDOf(second.Key.Public())
	if err != nil {
		t.Fatal(err)
	}
	for id, d := range p.Keys {
		if (d.Action == plan.Given) != (id == want) {
			t.Errorf("key %s: %s", id, d.Action)
		}
	}
	delete(k, "/secrets/ns/old")
	k["/bundle"] = first.PEM() + second.PEM()
	rule.Site = ""
	if p := decide(t, k, plan.Rules{KeepKeys: []plan.KeepKey{rule}, Unknown: plan.Keep}); len(p.Problems) != 0 {
		t.Errorf("got problems %v: an older generation without a private key is not meant", p.Problems)
	}
}

// A key that may be kept is no reason to refuse a seed that has nothing like it, and takes the place of no other's.
func TestKeepKeyIfThere(t *testing.T) {
	ca := cryptotest.Authority(t, "ca", cryptotest.EC(t))
	seeds, other := ca.Leaf(t, "web.seed.example", cryptotest.EC(t)), ca.Leaf(t, "other", cryptotest.EC(t))
	foreign := cryptotest.Authority(t, "elsewhere", cryptotest.EC(t)).Leaf(t, "web.seed.example", cryptotest.EC(t))
	const place, second = "/kubernetes.io/secrets/ns/web", "/kubernetes.io/secrets/ns/copy"
	authority := ca.PEM() + ca.KeyPEM()
	keep := func(site string) plan.KeepKey {
		return plan.KeepKey{CommonName: "web.site.example", Site: site, Key: cryptotest.EC(t), IfThere: true}
	}
	for _, test := range []struct {
		name  string
		keys  cryptotest.Values
		more  plan.Rules
		want  plan.Action // of the leaf's key
		notes string
	}{
		{"there", cryptotest.Values{"ca": authority, place: seeds.PEM() + seeds.KeyPEM()}, plan.Rules{}, plan.Given, ""},
		{"not there", cryptotest.Values{"ca": authority}, plan.Rules{}, "", "key of web.site.example: kept by rule, but"},
		{"elsewhere", cryptotest.Values{"ca": authority, "/web": seeds.PEM() + seeds.KeyPEM()}, plan.Rules{}, plan.Fresh, "key of web.site.example: kept by rule, but"},
		{"another certificate", cryptotest.Values{"ca": authority, place: other.PEM() + other.KeyPEM()}, plan.Rules{}, "", "key of web.site.example: kept by rule, but"},
		{
			"one key for two", cryptotest.Values{"ca": authority, place: seeds.PEM() + seeds.KeyPEM(), second: seeds.PEM() + seeds.KeyPEM()},
			plan.Rules{KeepKeys: []plan.KeepKey{keep("/secrets/ns/copy")}}, plan.Given, "key of web.site.example: named by two rules",
		},
		{
			"an issuer of others", cryptotest.Values{place: foreign.PEM() + foreign.KeyPEM()},
			plan.Rules{Orphans: plan.Keep}, plan.Kept, "kept by policy",
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			rules := test.more
			rules.Renames = rename.Rules{rename.Domain("seed.example", "site.example")}
			rules.KeepKeys = append(rules.KeepKeys, keep("/secrets/ns/web"))
			p := decide(t, test.keys, rules)
			if len(p.Problems) != 0 {
				t.Errorf("got problems %v", p.Problems)
			}
			if got := action(p, "web.seed.example"); got != test.want {
				t.Errorf("the key: %q, want %q", got, test.want)
			}
			notes := fmt.Sprint(p.Notes)
			if !strings.Contains(notes, test.notes) || test.notes == "" && len(p.Notes) > 0 {
				t.Errorf("got notes %s, want %q", notes, test.notes)
			}
			if got := action(p, "other"); got != "" && got != plan.Fresh {
				t.Errorf("another certificate's key: %s", got)
			}
		})
	}
}

func bundle(t *testing.T, pem string) string {
	return cryptotest.Stored(t, &corev1.ConfigMap{Data: map[string]string{"ca-bundle.crt": pem}})
}

// staged returns what a key becomes.
func staged(t *testing.T, k cryptotest.Values, rules plan.Rules, key string) string {
	t.Helper()
	p := decide(t, k, rules)
	if len(p.Problems) != 0 {
		t.Fatalf("got problems %v", p.Problems)
	}
	made, err := p.Issue(t.Context(), pki.Generate)
	if err != nil {
		t.Fatal(err)
	}
	changes, err := p.Stage(made)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range changes {
		if c.Name == key {
			return string(c.After)
		}
	}
	return k[key]
}

// The seed's names may be words of the site's values.
func TestGivenValueIsNotRenamed(t *testing.T) {
	const key = "/kubernetes.io/configmaps/kube-system/cluster-config-v1"
	seed := cryptotest.Stored(t, &corev1.ConfigMap{Data: map[string]string{"install-config": "name: node", "other": "node"}})
	got := staged(t, cryptotest.Values{key: seed}, plan.Rules{
		Renames: rename.Rules{rename.Hostname("node", "my-node")}, Changes: rule.Rules{rule.InstallConfig([]byte("name: my-node"))},
	}, key)
	want := cryptotest.Stored(t, &corev1.ConfigMap{Data: map[string]string{"install-config": "name: my-node", "other": "my-node"}})
	if got != want {
		t.Errorf("got\n%q\nwant\n%q", got, want)
	}
}

// A workload's digest of a bundle that a rule gives follows it, as it does one that is issued.
func TestDigestOfGivenValue(t *testing.T) {
	digest := func(pem string) string {
		sum := fnv.New32()
		_ = json.NewEncoder(sum).Encode(map[string]string{"ca-bundle.crt": pem})
		return base64.URLEncoding.EncodeToString(sum.Sum(nil))
	}
	deployment := func(digest string) string {
		return cryptotest.Stored(t, &appsv1.Deployment{Spec: appsv1.DeploymentSpec{Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{
			Annotations: map[string]string{"operator.openshift.io/dep-ns.joined.configmap": digest},
		}}}})
	}
	const key = "/kubernetes.io/deployments/ns/apiserver"
	k := cryptotest.Values{
		"/kubernetes.io/configmaps/openshift-config/corporate": bundle(t, "the seed's authorities"),
		"/kubernetes.io/configmaps/ns/joined":                  bundle(t, "the seed's authorities\nand the system's"),
		key:                                                    deployment(digest("the seed's authorities\nand the system's")),
	}
	given := rule.TrustBundle("corporate", []byte("the seed's authorities"), []byte("the site's"))
	if got, want := staged(t, k, plan.Rules{Changes: rule.Rules{given}}, key), deployment(digest("the site's\nand the system's")); got != want {
		t.Errorf("got\n%q\nwant\n%q", got, want)
	}
}

// The authorities of a bundle that the site gives are others', wherever that bundle was joined into another one.
func TestGivenBundle(t *testing.T) {
	theirs := cryptotest.Authority(t, "corporate", cryptotest.EC(t)).PEM()
	k := cryptotest.Values{"/kubernetes.io/configmaps/openshift-config/corporate": bundle(t, "seed's, long enough"), "/kubernetes.io/configmaps/ns/joined": bundle(t, "seed's, long enough\nand more")}
	given := rule.TrustBundle("corporate", []byte("seed's, long enough\n"), []byte(theirs))
	p := decide(t, k, plan.Rules{Changes: rule.Rules{given}})
	if len(p.Problems) != 0 {
		t.Fatalf("got problems %v", p.Problems)
	}
	if a := p.Applications()[0]; a.Rule != given.Name || len(a.Sites) != 2 {
		t.Errorf("got %v, want the rule at both", a)
	}
	if got := action(p, "corporate"); got != plan.Kept {
		t.Errorf("the authority's key: %s, want it kept", got)
	}
}

// A value that has no place in the seed is lost: where recert would stop so does the plan, elsewhere it says so.
func TestRuleWithoutAPlace(t *testing.T) {
	settings := rule.ProxySettings{HTTP: "http://proxy:1"}
	for _, test := range []struct {
		rule          rule.Rule
		problem, note bool
	}{
		{rule.PullSecret([]byte("{}")), true, false},
		{rule.InstallConfig([]byte("a: b")), true, false},
		{rule.Kubeadmin([]byte("$2a$")), true, false},
		{rule.Proxy(settings, settings), true, false},
		{rule.Proxy(rule.ProxySettings{}, settings), false, true},
		{rule.TrustBundle("more", nil, []byte("PEM")), true, false},
		{rule.Chrony([]byte("pool a")), false, true},
		{rule.HostKeys(pki.Generate), false, true},
		{rule.Kubeadmin(nil), false, false},
		{rule.Leases(), false, false},
		{rule.Logins(), false, false},
		{rule.Renamed(), false, false},
		{rule.LifecycleAgent(), false, false},
		{rule.Drop("drop", "", "events/*"), false, false},
	} {
		t.Run(test.rule.Name, func(t *testing.T) {
			p := decide(t, cryptotest.Values{"a": "nothing"}, plan.Rules{Changes: rule.Rules{test.rule}})
			of := func(list []plan.Problem) bool {
				return len(list) == 1 && list[0].Where == test.rule.Name && strings.Contains(list[0].What, test.rule.Why)
			}
			if of(p.Problems) != test.problem || of(p.Notes) != test.note || len(p.Problems)+len(p.Notes) > 1 {
				t.Errorf("got problems %v and notes %v", p.Problems, p.Notes)
			}
		})
	}
}

// Plans are printed, and a proxy's URL may hold a password.
func TestApplicationsTellNoPassword(t *testing.T) {
	for name, c := range map[string]struct{ old, renamed, want string }{
		"URLs":              {"http://seed:secret@proxy:1", "https://me:secret@proxy:2", "http://xxxxx@proxy:1 is called https://xxxxx@proxy:2"},
		"odd passwords":     {"http://seed:sec@ret#/?,@proxy:1", "http://me:%zzsecret@proxy:2", "http://xxxxx@proxy:1 is called http://xxxxx@proxy:2"},
		"without a scheme":  {"seed:secret://@proxy:1", "proxy:2", "xxxxx@proxy:1 is called proxy:2"},
		"without a user":    {"http://proxy:1", "http://proxy:2", "http://proxy:1 is called http://proxy:2"},
		"exceptions":        {".svc,10.0.0.0/8", ".svc,.cluster.local", ".svc,10.0.0.0/8 is called .svc,.cluster.local"},
		"odd exceptions":    {".svc,http://u:secret@a,b", ".svc,c", "xxxxx@a,b is called .svc,c"},
		"nothing but an at": {"@proxy", "proxy", "xxxxx@proxy is called proxy"},
	} {
		t.Run(name, func(t *testing.T) {
			renames := rename.Rules{rename.Value("proxy", c.old, c.renamed)}
			p := decide(t, cryptotest.Values{"a": c.old}, plan.Rules{Renames: renames})
			if got := p.Applications()[0]; got.Why != c.want || len(got.Sites) != 1 {
				t.Errorf("got %+v, want %q", got, c.want)
			}
			if err := append(renames, renames...).Check(); err == nil || strings.Contains(err.Error(), "secret") {
				t.Errorf("got error %v for two rules", err)
			}
		})
	}
}

func TestStage(t *testing.T) {
	k := cryptotest.Values{"/kubernetes.io/events/a": "x", "/minions/node1": "I am node1", "/other": "nothing", "/both": "node1"}
	p := decide(t, k, plan.Rules{Changes: rule.Rules{rule.Drop("events", "", "events/*")}, Renames: rename.Rules{rename.Hostname("node1", "node2")}})
	changes, err := p.Stage(&plan.Issued{})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, c := range changes {
		text := "put " + c.Name + " " + string(c.After)
		if c.Delete {
			text = "delete " + c.Name
		} else if c.Create {
			text = "create " + c.Name + " " + string(c.After)
		}
		got = append(got, text)
	}
	slices.Sort(got)
	want := []string{"create /minions/node2 I am node2", "delete /kubernetes.io/events/a", "delete /minions/node1", "put /both node2"}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	t.Run("a name that is taken", func(t *testing.T) {
		k["/minions/node2"] = "another"
		p := decide(t, k, plan.Rules{Renames: rename.Rules{rename.Hostname("node1", "node2")}})
		if _, err := p.Stage(&plan.Issued{}); err == nil {
			t.Error("one key was to be written over another")
		}
	})
}

func TestCheck(t *testing.T) {
	for name, rules := range map[string]plan.Rules{
		"time is missing":  {Validity: plan.Extend},
		"bad pattern":      {Own: []string{"["}},
		"orphans replaced": {Orphans: plan.Replace},
		"unread replaced":  {Unread: plan.Replace},
		"unknown policy":   {Unknown: "kept"},
		"bad rename":       {Renames: rename.Rules{rename.Hostname("a", "b")}},
	} {
		if rules.Check() == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	rules := plan.Rules{Validity: plan.ForceExpire, Now: time.Now()}
	if err := rules.Check(); err != nil || rules.Unknown != plan.Refuse || rules.Orphans != plan.Refuse {
		t.Errorf("got %v and policies %s, %s; want what is unclear refused", err, rules.Unknown, rules.Orphans)
	}
}
