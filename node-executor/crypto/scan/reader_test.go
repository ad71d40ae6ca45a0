package scan_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"go.uber.org/goleak"

	"github.com/reroot-dev/reroot/node-executor/crypto/cryptotest"
	"github.com/reroot-dev/reroot/node-executor/crypto/pki"
	"github.com/reroot-dev/reroot/node-executor/crypto/rename"
	"github.com/reroot-dev/reroot/node-executor/crypto/rule"
	"github.com/reroot-dev/reroot/node-executor/crypto/scan"
	"github.com/reroot-dev/reroot/node-executor/crypto/site"
)

// ended is a source that says when it has been read.
type ended struct {
	site.Source
	done chan struct{}
}

func (e ended) Walk(ctx context.Context, visit func(site.Site) error) error {
	defer close(e.done)
	return e.Source.Walk(ctx, visit)
}

func base64Of(text string) []byte { return []byte(base64.StdEncoding.EncodeToString([]byte(text))) }

// It makes no difference whether the rules are known before anything is read, or after everything was.
func TestRulesThatComeLate(t *testing.T) {
	const name = "node1.example.com"
	key := []byte(cryptotest.KeyPEM(cryptotest.EC(t)))
	all := sites{
		file("/etc/a/key"):                  key,
		file("/etc/a/name"):                 []byte("host " + name),
		file("/etc/a/part-of-a-name"):       []byte("host not" + name),
		file("/etc/a/wrapped-name"):         base64Of("the host is called " + name + " as is known"),
		file("/etc/a/nothing"):              []byte("nothing"),
		file("/etc/a/" + name):              []byte("a name of its own"),
		file("/etc/a/wrapped"):              base64Of("nothing that anyone would want to change"),
		object("/kubernetes.io/leases/a/b"): []byte("{}"),
		object("/kubernetes.io/secrets/openshift-config/pull-secret"): secret(t, map[string][]byte{".dockerconfigjson": []byte("old")}),
	}
	rules := scan.Rules{
		Renames: rename.Rules{rename.Hostname(name, "node2.example.com")},
		Changes: rule.Rules{rule.Leases(), rule.PullSecret([]byte("new"))},
	}
	read := func(rules func(context.Context) (scan.Rules, error), source site.Source) *scan.Result {
		found, err := scan.Scan(t.Context(), []site.Source{source}, scan.Options{Rules: rules})
		if err != nil {
			t.Fatal(err)
		}
		return found
	}
	early := read(rules.Known, all)
	if len(early.Sites) != 5 || len(early.Dropped) != 1 || len(early.Plain) != 3 {
		t.Fatalf("got %d sites, %d dropped and %d others", len(early.Sites), len(early.Dropped), len(early.Plain))
	}
	done := make(chan struct{})
	late := read(func(context.Context) (scan.Rules, error) {
		<-done
		return rules, nil
	}, ended{all, done})
	if diff := cmp.Diff(early, late, cmpopts.IgnoreUnexported(scan.Result{}, scan.Others{}), cmpopts.IgnoreFields(scan.Result{}, "Graph")); diff != "" {
		t.Errorf("rules that come late make a difference:\n%s", diff)
	}
	if len(late.Graph.Keys) != 1 {
		t.Errorf("got %d keys, want 1", len(late.Graph.Keys))
	}
}

// Whoever makes keys need not wait for the rules.
func TestKeysAreToldOfEarly(t *testing.T) {
	defer goleak.VerifyNone(t)
	one, other := cryptotest.EC(t), cryptotest.EC384(t)
	all := sites{
		file("/etc/a"): []byte(cryptotest.KeyPEM(one)), file("/etc/b"): []byte(cryptotest.KeyPEM8(one)), // another form of it
		file("/etc/c"): []byte(cryptotest.KeyPEM(other) + cryptotest.KeyPEM(one)),
	}
	told := make(chan pki.Algorithm, 10)
	_, err := scan.Scan(t.Context(), []site.Source{all}, scan.Options{
		Found: func(a pki.Algorithm) { told <- a },
		Rules: func(ctx context.Context) (scan.Rules, error) {
			got := map[pki.Algorithm]int{}
			for range 2 {
				select {
				case a := <-told:
					got[a]++
				case <-ctx.Done():
					return scan.Rules{}, ctx.Err()
				}
			}
			if diff := cmp.Diff(map[pki.Algorithm]int{{Name: "ECDSA", Bits: 256}: 1, {Name: "ECDSA", Bits: 384}: 1}, got); diff != "" {
				t.Error(diff)
			}
			return scan.Rules{}, nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(told) > 0 {
		t.Error("a key was told of twice")
	}
}

var errUnreadable = errors.New("unreadable")

type unreadable struct{ site.Source }

func (u unreadable) Walk(ctx context.Context, visit func(site.Site) error) error {
	return errors.Join(u.Source.Walk(ctx, visit), errUnreadable)
}

// What goes wrong at one end ends everything.
func TestScanFails(t *testing.T) {
	defer goleak.VerifyNone(t)
	all := sites{file("/etc/a"): []byte("a"), file("/etc/b"): []byte("b")}
	never := func(ctx context.Context) (scan.Rules, error) {
		<-ctx.Done()
		return scan.Rules{}, ctx.Err()
	}
	if _, err := scan.Scan(t.Context(), []site.Source{unreadable{all}}, scan.Options{Rules: never}); !errors.Is(err, errUnreadable) {
		t.Errorf("got error %v, want %v", err, errUnreadable)
	}
	failing := func(context.Context) (scan.Rules, error) { return scan.Rules{}, errUnreadable }
	if _, err := scan.Scan(t.Context(), []site.Source{all}, scan.Options{Rules: failing}); !errors.Is(err, errUnreadable) {
		t.Errorf("got error %v, want %v", err, errUnreadable)
	}
}

// Every site that stays as it is comes once, whether there was room for it in memory or not.
func TestOthers(t *testing.T) {
	all := sites{file("/etc/key"): []byte(cryptotest.KeyPEM(cryptotest.EC(t)))}
	const sitesOfMebibyte = 80
	for i := range sitesOfMebibyte {
		all[file(fmt.Sprintf("/etc/%02d", i))] = bytes.Repeat([]byte{'.', byte(i)}, 1<<19)
	}
	found, err := scan.Scan(t.Context(), []site.Source{all}, scan.Options{})
	if err != nil {
		t.Fatal(err)
	}
	seen := map[site.Ref]int{}
	err = found.Others.Walk(t.Context(), func(s site.Site) error {
		if seen[s.Ref]++; !bytes.Equal(s.Content, all[s.Ref]) {
			t.Errorf("%s has another content", s.Ref)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(seen) != sitesOfMebibyte || seen[file("/etc/key")] != 0 {
		t.Errorf("got %d sites, want %d", len(seen), sitesOfMebibyte)
	}
	for ref, times := range seen {
		if times != 1 {
			t.Errorf("%s came %d times", ref, times)
		}
	}
}
