package crypto_test

import (
	"bytes"
	stdcrypto "crypto"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/reroot-dev/reroot/node-executor/crypto"
	"github.com/reroot-dev/reroot/node-executor/crypto/crawl"
	"github.com/reroot-dev/reroot/node-executor/crypto/cryptotest"
	"github.com/reroot-dev/reroot/node-executor/crypto/graph"
	"github.com/reroot-dev/reroot/node-executor/crypto/pki"
	"github.com/reroot-dev/reroot/node-executor/crypto/plan"
	"github.com/reroot-dev/reroot/node-executor/crypto/splice"
	"github.com/reroot-dev/reroot/node-executor/crypto/token"
	"github.com/reroot-dev/reroot/node-executor/crypto/verify"
)

// forest draws some authorities in a hierarchy of any shape, leaves, renewals, bridges, tokens, and writes them into
// files in any nesting and number of copies.
func forest(r *rapid.T, t *testing.T) tree {
	keys := []stdcrypto.Signer{}
	for range rapid.IntRange(1, 5).Draw(r, "keys") {
		keys = append(keys, rapid.SampledFrom([]func() stdcrypto.Signer{
			func() stdcrypto.Signer { return cryptotest.EC(t) },
			func() stdcrypto.Signer { return cryptotest.EC384(t) },
			func() stdcrypto.Signer { return cryptotest.Ed(t) },
			func() stdcrypto.Signer { return cryptotest.RSA(t, len(keys)) },
		}).Draw(r, "algorithm")())
	}
	var material []string
	authorities := []cryptotest.Pair{cryptotest.Authority(t, "root", keys[0])}
	material = append(material, authorities[0].PEM())
	for i := range rapid.IntRange(0, 8).Draw(r, "certificates") {
		issuer := rapid.SampledFrom(authorities).Draw(r, "issuer")
		key := rapid.SampledFrom(keys).Draw(r, "key")
		var options []cryptotest.Option
		if rapid.Bool().Draw(r, "own identifier") {
			options = append(options, cryptotest.SubjectKeyID([]byte(fmt.Sprint("identifier ", i))))
		}
		name := rapid.SampledFrom([]string{"root", "a", "b", "c"}).Draw(r, "name")
		var made cryptotest.Pair
		switch rapid.IntRange(0, 2).Draw(r, "kind") {
		case 0:
			made = cryptotest.Authority(t, name, key, options...)
			authorities = append(authorities, made)
		case 1:
			made = issuer.Intermediate(t, name, key, options...)
			authorities = append(authorities, made)
		default:
			made = issuer.Leaf(t, name, key, append(options, cryptotest.Names("host.example"))...)
		}
		material = append(material, made.PEM())
	}
	for _, key := range keys {
		if !rapid.Bool().Draw(r, "key was thrown away") {
			material = append(material, rapid.SampledFrom([]func(stdcrypto.Signer) string{cryptotest.KeyPEM, cryptotest.KeyPEM8}).Draw(r, "form")(key))
		}
		if rapid.Bool().Draw(r, "bare public key") {
			material = append(material, cryptotest.PublicPEM(key.Public()))
		}
	}
	if rapid.Bool().Draw(r, "token") {
		material = append(material, cryptotest.Token(t, cryptotest.EC(t), "of others")+"\n")
		signer := cryptotest.EC(t)
		material = append(material, cryptotest.KeyPEM(signer), cryptotest.Token(t, signer, "own")+"\n")
	}
	return scatter(r, material)
}

// scatter writes each piece at least once somewhere.
func scatter(r *rapid.T, material []string) tree {
	w := tree{"nothing": "no material\n"}
	b64 := func(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }
	styles := []func(string) string{
		func(s string) string { return s },
		func(s string) string { return "# a comment\n" + s + "\n" },
		func(s string) string { return "key: " + b64(s) + "\nnext-key: 1\n" },
		func(s string) string {
			return "key: |\n    " + strings.ReplaceAll(strings.TrimSpace(s), "\n", "\n    ") + "\n"
		},
		func(s string) string {
			text, err := json.Marshal(map[string]string{"b": s, "a": "x"})
			if err != nil {
				r.Fatal(err)
			}
			return string(text)
		},
		func(s string) string { return strings.ReplaceAll(s, "\n", "\r\n") },
	}
	for i, m := range material {
		for copies := range rapid.IntRange(1, 3).Draw(r, "copies") {
			style := rapid.SampledFrom(styles).Draw(r, "style")
			// Some pieces share a file.
			w[fmt.Sprint("f", (i+copies*7)%5)] += style(m) + "\n"
		}
	}
	return w
}

// contents reads a tree's material by file, and the text around it.
func contents(t testing.TB, w tree) (leaves []crawl.Leaf, around string) {
	t.Helper()
	for _, name := range slices.Sorted(maps.Keys(w)) {
		edits, err := crawl.Rewrite([]byte(w[name]), crawl.Handler{Leaf: func(l crawl.Leaf) ([]byte, error) {
			leaves = append(leaves, crawl.Leaf{Kind: l.Kind, Path: l.Path, Bytes: bytes.Clone(l.Bytes)})
			return nil, nil
		}})
		if err != nil || len(edits) != 0 {
			t.Fatal(err)
		}
		around += "\x00" + name + "\x00" + surroundings(t, w[name])
	}
	return leaves, around
}

// surroundings is a document with nothing in the place of its material.
func surroundings(t testing.TB, doc string) string {
	t.Helper()
	edits, err := crawl.Rewrite([]byte(doc), crawl.Handler{Leaf: func(crawl.Leaf) ([]byte, error) { return []byte("-"), nil }})
	if err != nil {
		t.Fatal(err)
	}
	out, err := splice.Apply([]byte(doc), edits)
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

// Whatever the forest, the invariants hold of what it becomes, and of what some become when they are regenerated again.
func TestForests(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		before := forest(r, t)
		dir := before.write(t)
		old := seen(r, t, dir)
		pools := []string{"fresh"}
		if rapid.IntRange(0, 3).Draw(r, "again") == 3 { // each time takes as long as the first
			pools = append(pools, "again")
		}
		for _, pool := range pools {
			config := configure(t, dir, plan.Rules{Unknown: plan.Replace, Validity: plan.Extend, Now: now})
			config.Generate = cryptotest.NewKeys(pool).Make
			if _, err := crypto.Regenerate(t.Context(), config); err != nil {
				r.Fatal(err)
			}
			renewed := seen(r, t, dir)
			if old.around != renewed.around {
				r.Fatalf("something around the material changed:\n%q\n%q", old.around, renewed.around)
			}
			if len(old.leaves) != len(renewed.leaves) {
				r.Fatalf("%d pieces of material became %d", len(old.leaves), len(renewed.leaves))
			}
			sameRelations(r, old.leaves, renewed.leaves)
			if diff := cmp.Diff(shape(old.graph), shape(renewed.graph)); diff != "" {
				r.Fatalf("keys, certificates and tokens belong together otherwise:\n%s", diff)
			}
			sameIdentifiers(r, old, renewed)
			noneOfBefore(r, old, renewed)
			sameFiles(r, old, renewed)
			old = renewed
		}
	})
}

// sight is a tree as it stands on the disk.
type sight struct {
	tree   tree
	stats  map[string]*syscall.Stat_t
	leaves []crawl.Leaf // in the order of the files' names
	around string
	graph  *graph.Graph
}

func seen(r *rapid.T, t *testing.T, dir string) sight {
	s := sight{tree: read(t, dir), stats: map[string]*syscall.Stat_t{}}
	for name := range s.tree {
		s.stats[name] = &syscall.Stat_t{}
		if err := syscall.Lstat(filepath.Join(dir, name), s.stats[name]); err != nil {
			r.Fatal(err)
		}
	}
	s.leaves, s.around = contents(t, s.tree)
	var err error
	if s.graph, err = crypto.Inspect(t.Context(), configure(t, dir, plan.Rules{Unknown: plan.Replace})); err != nil {
		r.Fatal(err)
	}
	return s
}

// sameIdentifiers checks that a key identifier still leads where it led, and to others only if they are on the key that
// made the signature: identifiers that follow no rule become one that does. And no two certificates of an issuer share a
// serial number.
func sameIdentifiers(r *rapid.T, old, renewed sight) {
	leads := func(leaves []crawl.Leaf, from int) (to []int) {
		for i, l := range leaves {
			if l.Kind != crawl.Certificate {
				continue
			}
			if c := parsed(r, l.Bytes); len(c.SubjectKeyId) > 0 && bytes.Equal(c.SubjectKeyId, parsed(r, leaves[from].Bytes).AuthorityKeyId) {
				to = append(to, i)
			}
		}
		return to
	}
	serials := map[string][]byte{}
	for i, l := range old.leaves {
		if l.Kind != crawl.Certificate {
			continue
		}
		c := parsed(r, renewed.leaves[i].Bytes)
		was, is := leads(old.leaves, i), leads(renewed.leaves, i)
		if slices.ContainsFunc(was, func(to int) bool { return !slices.Contains(is, to) }) {
			r.Fatalf("the authority key identifier at %s led to the certificates %v and now to %v", l.Path, was, is)
		}
		for _, to := range is {
			issuer := parsed(r, renewed.leaves[to].Bytes)
			if !slices.Contains(was, to) && issuer.CheckSignature(c.SignatureAlgorithm, c.RawTBSCertificate, c.Signature) != nil {
				r.Fatalf("the authority key identifier at %s now leads to %s, which is not its issuer", l.Path, renewed.leaves[to].Path)
			}
		}
		name := string(c.RawIssuer) + c.SerialNumber.String()
		if other, taken := serials[name]; taken && !bytes.Equal(other, c.Raw) {
			r.Fatalf("two certificates of %s have the serial number %s", c.Issuer, c.SerialNumber)
		}
		serials[name] = c.Raw
	}
}

// noneOfBefore searches every byte and layer for the old private keys.
func noneOfBefore(r *rapid.T, old, renewed sight) {
	keys := map[pki.KeyID]stdcrypto.Signer{}
	for id, k := range old.graph.Keys {
		if k.Private != nil {
			keys[id] = k.Private
		}
	}
	needles := verify.NewNeedles(keys)
	for name, content := range renewed.tree {
		_, err := crawl.Rewrite([]byte(content), crawl.Handler{Layer: func(path string, layer []byte) {
			if owner, found := needles.Find(layer); found {
				r.Fatalf("%s%s holds the old private key %s", name, path, owner)
			}
		}})
		if err != nil {
			r.Fatal(err)
		}
	}
}

// sameFiles checks that what holds nothing was not touched, and that what was replaced has its owner and mode.
func sameFiles(r *rapid.T, old, renewed sight) {
	if len(old.tree) != len(renewed.tree) {
		r.Fatalf("%d files became %d", len(old.tree), len(renewed.tree))
	}
	for name, content := range old.tree {
		was, is := old.stats[name], renewed.stats[name]
		if renewed.tree[name] == content && (was.Ino != is.Ino || was.Mtim != is.Mtim) {
			r.Fatalf("%s was written though nothing in it changed", name)
		}
		if was.Mode != is.Mode || was.Uid != is.Uid || was.Gid != is.Gid || was.Nlink != is.Nlink {
			r.Fatalf("%s has another owner, mode or number of links", name)
		}
	}
}

// sameRelations checks the invariants with the standard library: what was equal is equal, what differed differs, what
// signed what still does, and nothing old works with anything new.
func sameRelations(r *rapid.T, old, renewed []crawl.Leaf) {
	for i := range old {
		if old[i].Kind != renewed[i].Kind {
			r.Fatalf("a %s became a %s", old[i].Kind, renewed[i].Kind)
		}
		for j := range i {
			if bytes.Equal(old[i].Bytes, old[j].Bytes) != bytes.Equal(renewed[i].Bytes, renewed[j].Bytes) {
				r.Fatalf("copies at %s and %s", old[i].Path, old[j].Path)
			}
		}
	}
	old, renewed = distinct(old, renewed)
	wasPublic, isPublic := publics(r, old), publics(r, renewed)
	for i, a := range old {
		for j := range old {
			was, is := relation(r, a, wasPublic[j]), relation(r, renewed[i], isPublic[j])
			if was != is {
				r.Fatalf("%s at %s and key at %s: was %+v, is %+v", a.Kind, a.Path, old[j].Path, was, is)
			}
			if crossed := relation(r, renewed[i], wasPublic[j]); crossed.signed || crossed.same {
				if foreign := a.Kind == crawl.Token && bytes.Equal(a.Bytes, renewed[i].Bytes); !foreign {
					r.Fatalf("new %s at %s works with an old key", a.Kind, a.Path)
				}
			}
		}
		switch a.Kind {
		case crawl.Certificate:
			sameText(r, a.Bytes, renewed[i].Bytes)
		case crawl.Token:
			if payload(a.Bytes) != payload(renewed[i].Bytes) {
				r.Fatalf("the claims of the token at %s changed", a.Path)
			}
		default:
			if was, is := algorithm(r, wasPublic[i]), algorithm(r, isPublic[i]); was != is {
				r.Fatalf("a key of %s became one of %s", was, is)
			}
		}
	}
}

func payload(token []byte) string { return strings.Split(string(token), ".")[1] }

func algorithm(r *rapid.T, public any) pki.Algorithm {
	a, err := pki.AlgorithmOf(public)
	if err != nil {
		r.Fatal(err)
	}
	return a
}

// distinct leaves copies out.
func distinct(old, renewed []crawl.Leaf) (a, b []crawl.Leaf) {
	seen := map[string]bool{}
	for i, l := range old {
		if !seen[string(l.Bytes)] {
			seen[string(l.Bytes)] = true
			a, b = append(a, l), append(b, renewed[i])
		}
	}
	return a, b
}

// publics returns each leaf's public key, nil for tokens.
func publics(r *rapid.T, leaves []crawl.Leaf) []any {
	keys := make([]any, len(leaves))
	for i, l := range leaves {
		switch l.Kind {
		case crawl.Certificate:
			keys[i] = parsed(r, l.Bytes).PublicKey
		case crawl.PrivateKey:
			key, _, err := pki.ParsePrivateKey(l.Bytes)
			if err != nil {
				r.Fatal(err)
			}
			keys[i] = key.Public()
		case crawl.PublicKey:
			key, err := x509.ParsePKIXPublicKey(l.Bytes)
			if err != nil {
				r.Fatal(err)
			}
			keys[i] = key
		}
	}
	return keys
}

type related struct{ same, signed bool }

// relation says what a leaf has to do with a key.
func relation(r *rapid.T, l crawl.Leaf, public any) related {
	if public == nil {
		return related{}
	}
	equal := func(key any) bool {
		return key.(interface {
			Equal(stdcrypto.PublicKey) bool
		}).Equal(public)
	}
	switch l.Kind {
	case crawl.Certificate:
		c := parsed(r, l.Bytes)
		issuer := &x509.Certificate{PublicKey: public}
		return related{equal(c.PublicKey), issuer.CheckSignature(c.SignatureAlgorithm, c.RawTBSCertificate, c.Signature) == nil}
	case crawl.Token:
		parsed, err := token.Parse(l.Bytes)
		return related{signed: err == nil && parsed.SignedBy(public)}
	}
	return related{same: equal(publics(r, []crawl.Leaf{l})[0])}
}

func parsed(r *rapid.T, der []byte) *x509.Certificate {
	c, err := x509.ParseCertificate(der)
	if err != nil {
		r.Fatal(err)
	}
	return c
}

func sameText(r *rapid.T, old, renewed []byte) {
	a, b := parsed(r, old), parsed(r, renewed)
	if !bytes.Equal(a.RawSubject, b.RawSubject) || !bytes.Equal(a.RawIssuer, b.RawIssuer) || !slices.Equal(a.DNSNames, b.DNSNames) ||
		a.KeyUsage != b.KeyUsage || a.IsCA != b.IsCA || a.NotAfter.Sub(a.NotBefore) != b.NotAfter.Sub(b.NotBefore) {
		r.Fatalf("the text of %s changed", a.Subject)
	}
	if a.SerialNumber.Cmp(b.SerialNumber) == 0 || b.SerialNumber.Sign() <= 0 {
		r.Fatalf("serial number of %s is %s", b.Subject, b.SerialNumber)
	}
	for i := range a.Extensions {
		if !a.Extensions[i].Id.Equal(b.Extensions[i].Id) || a.Extensions[i].Critical != b.Extensions[i].Critical {
			r.Fatalf("the extensions of %s changed", a.Subject)
		}
	}
}
