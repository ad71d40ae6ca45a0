package configfile_test

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"sigs.k8s.io/yaml"

	"github.com/reroot-dev/reroot/node-executor/crypto/commit"
	"github.com/reroot-dev/reroot/node-executor/crypto/configfile"
	"github.com/reroot-dev/reroot/node-executor/crypto/files"
	"github.com/reroot-dev/reroot/node-executor/crypto/pki"
	"github.com/reroot-dev/reroot/node-executor/crypto/plan"
)

// The example shows the defaults: without them it asks for the same.
func TestExampleShowsDefaults(t *testing.T) {
	text, err := os.ReadFile("example.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var shown map[string]any
	if err := yaml.Unmarshal(text, &shown); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	shown["node"] = dir
	for _, f := range append(slices.Clone(configfile.DefaultFiles), "/etc/kubernetes/a") {
		if err := errors.Join(os.MkdirAll(filepath.Dir(filepath.Join(dir, f)), 0o755), os.WriteFile(filepath.Join(dir, f), nil, 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	for _, asksForSomething := range []string{"keep", "cluster", "names", "values", "drop", "validity", "journal", "summary"} {
		delete(shown, asksForSomething)
	}
	want := settings(t, shown)
	defaults := []string{"roots", "files", "skip", "validFor", "validAtMost", "namesOnly", "sshHostKeys", "unknown", "orphans", "unread", "foreignTokens"}
	for _, option := range defaults {
		if _, there := shown[option]; !there {
			t.Errorf("%s is not shown", option)
		}
		delete(shown, option)
	}
	delete(shown["etcd"].(map[string]any), "dir")
	if left := slices.Sorted(maps.Keys(shown)); !slices.Equal(left, []string{"etcd", "node"}) {
		t.Errorf("%v are not looked at by this test", left)
	}
	got := settings(t, shown)
	if len(got.Roots) != 3+len(configfile.DefaultFiles) {
		t.Errorf("got roots %v", got.Roots)
	}
	functions := cmp.Options{
		cmpopts.IgnoreFields(plan.Rules{}, "Changes"), cmpopts.EquateEmpty(), cmpopts.IgnoreUnexported(configfile.Settings{}), cmpopts.EquateComparable(pki.KeyID{}),
	}
	if diff := cmp.Diff(got, want, functions); diff != "" {
		t.Errorf("settings:\n%s", diff)
	}
	gotRules, wantRules := got.Config(nil, "").Rules, want.Config(nil, "").Rules
	if err := errors.Join(gotRules.Check(), wantRules.Check()); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(gotRules, wantRules, functions); diff != "" {
		t.Errorf("rules:\n%s", diff)
	}
	if diff := cmp.Diff(names(gotRules), names(wantRules)); diff != "" {
		t.Errorf("changes:\n%s", diff)
	}
}

func settings(t *testing.T, options map[string]any) *configfile.Settings {
	t.Helper()
	text, err := yaml.Marshal(options)
	if err != nil {
		t.Fatal(err)
	}
	return mustLoad(t, string(text))
}

// A value must reach its file also when the file is in none of the roots.
func TestValuesReachTheirFiles(t *testing.T) {
	dir := t.TempDir()
	const anchors = "/etc/pki/ca-trust/source/anchors"
	bundle := filepath.Join(anchors, "openshift-config-user-ca-bundle.crt")
	for _, f := range []string{"/etc/chrony.conf", bundle} {
		if err := errors.Join(os.MkdirAll(filepath.Dir(filepath.Join(dir, f)), 0o755), os.WriteFile(filepath.Join(dir, f), nil, 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	text := fmt.Sprintf("{node: %s, etcd: {endpoint: x}, roots: [/etc/kubernetes, /etc/kubernetes/a], files: [/etc/kubernetes/b]", dir)
	root := files.Root{Host: dir + "/etc/kubernetes", Node: "/etc/kubernetes"}
	if s := mustLoad(t, text+"}"); !slices.Equal(s.Roots, []files.Root{root}) {
		t.Errorf("got roots %v", s.Roots)
	}
	value := write(t, "value", "x")
	s := mustLoad(t, text+fmt.Sprintf(", values: {chrony: %s, trustBundles: {user-ca-bundle: %s}}}", value, value))
	want := []files.Root{root, {Host: dir + "/etc", Node: "/etc", Only: "chrony.conf"}, {Host: dir + anchors, Node: anchors, Only: filepath.Base(bundle)}}
	if diff := cmp.Diff(want, s.Roots); diff != "" {
		t.Errorf("roots:\n%s", diff)
	}
	// Single files without roots are searched besides the default ones.
	if s := mustLoad(t, fmt.Sprintf("{node: %s, files: [/etc/x]}", dir)); len(s.Roots) != 4 || s.Roots[3].Only != "x" {
		t.Errorf("got roots %v", s.Roots)
	}
}

func TestJournals(t *testing.T) {
	first, second := mustLoad(t, "crypto_dirs: [/a]\n").Journal, mustLoad(t, "crypto_dirs: [/b]\n").Journal
	if filepath.Dir(first) != configfile.RecertJournals || first == second || first != mustLoad(t, "crypto_dirs: [/a]\n").Journal {
		t.Errorf("got journals %s and %s", first, second)
	}
	dir := filepath.Join(t.TempDir(), "journals")
	own, other := filepath.Join(dir, "own"), filepath.Join(dir, "other")
	check := func(want string) {
		t.Helper()
		var interrupted *configfile.InterruptedError
		err := configfile.CheckJournals(own)
		if errors.As(err, &interrupted); (want == "") != (err == nil) || want != "" && interrupted.Journal != want {
			t.Errorf("got error %v, want one about %q", err, want)
		}
	}
	check("")
	j, err := commit.Open(other)
	if err != nil {
		t.Fatal(err)
	}
	fault := func(string) error { return nil }
	if err := errors.Join(j.Write(&commit.Record{Summary: []byte("{}")}, fault), j.Prepare(fault), os.MkdirAll(own, 0o700)); err != nil {
		t.Fatal(err)
	}
	check(other)
	if err := errors.Join(j.Finish([]byte("{}"), fault), j.Close()); err != nil {
		t.Fatal(err)
	}
	check("")
}
