package rule_test

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"io"
	"maps"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/reroot-dev/reroot/node-executor/crypto/crawl"
	"github.com/reroot-dev/reroot/node-executor/crypto/cryptotest"
	"github.com/reroot-dev/reroot/node-executor/crypto/jsonfield"
	"github.com/reroot-dev/reroot/node-executor/crypto/rule"
	"github.com/reroot-dev/reroot/node-executor/crypto/site"
)

// Whatever a MachineConfig is: a file in it that gets a content has it, in the old one's encoding; nothing else changes; the same
// again changes nothing.
func FuzzMachineFile(f *testing.F) {
	f.Add([]byte(machineConfig(f, rule.ChronyFile, "server a\n")), []byte("server b iburst\n"))
	f.Add([]byte(`{"x":[{"path":"`+rule.ChronyFile+`","contents":{"source":"data:,"}}]}`), []byte(nil))
	f.Add([]byte(`{"path":"`+rule.ChronyFile+`","contents":{"source":"data:;base64,","compression":"gzip"}}`), []byte("\xff"))
	ref := site.Ref{Store: site.Etcd, Name: "/kubernetes.io/machineconfiguration.openshift.io/machineconfigs/a"}
	f.Fuzz(func(t *testing.T, doc, content []byte) {
		rules := rule.Rules{rule.Chrony(content)}
		after, found, err := rules.Set(ref, doc)
		if err != nil {
			return // not JSON, not a data URL
		}
		if len(found) == 0 && !bytes.Equal(after, doc) {
			t.Fatal("there is no such file, and something changed")
		}
		if again, _, err := rules.Set(ref, after); err != nil || !bytes.Equal(again, after) {
			t.Fatalf("the same again: %v\n%q\n%q", err, after, again)
		}
		if len(found) == 0 {
			return
		}
		was, is := texts(t, doc), texts(t, after)
		for pointer, text := range was {
			switch {
			case isSource(was, pointer):
				compression := strings.TrimSuffix(pointer, "source") + "compression"
				if got := sourceContent(t, is[pointer], is[compression]); !bytes.Equal(got, content) {
					t.Fatalf("%s has the content %q, want %q", pointer, got, content)
				}
			case text != is[pointer]:
				t.Fatalf("%s was %q and is %q", pointer, text, is[pointer])
			}
		}
		if len(was) != len(is) {
			t.Fatalf("%d texts became %d", len(was), len(is))
		}
	})
}

// sourceContent reads a data URL.
func sourceContent(t *testing.T, source, compression string) []byte {
	t.Helper()
	head, body, _ := strings.Cut(source, ",")
	text, err := url.PathUnescape(body)
	if err != nil {
		t.Fatal(err)
	}
	content := []byte(text)
	if strings.HasSuffix(head, ";base64") {
		if content, err = base64.StdEncoding.DecodeString(text); err != nil {
			t.Fatal(err)
		}
	}
	if compression != "gzip" {
		return content
	}
	reader, err := gzip.NewReader(bytes.NewReader(content))
	if err != nil {
		t.Fatal(err)
	}
	if content, err = io.ReadAll(reader); err != nil {
		t.Fatal(err)
	}
	return content
}

// isSource tells whether a text is the content of the file.
func isSource(texts map[string]string, pointer string) bool {
	const source = "/contents/source"
	file := len(pointer) - len(source)
	return file >= 0 && pointer[file:] == source && texts[pointer[:file]+"/path"] == rule.ChronyFile
}

func texts(t *testing.T, doc []byte) map[string]string {
	t.Helper()
	fields, err := jsonfield.Parse(doc)
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]string{}
	for pointer, field := range fields {
		if field.IsText {
			found[pointer] = field.Text
		}
	}
	return found
}

// stringsOf are those of a stored object by path, and of each path how often it occurs.
func stringsOf(t *testing.T, doc []byte) (values map[string]string, times map[string]int) {
	t.Helper()
	values, times = map[string]string{}, map[string]int{}
	_, err := crawl.Rewrite(doc, crawl.Handler{Field: func(path string, value []byte) ([]byte, bool) {
		values[path] = string(value)
		times[path]++
		return value, true
	}})
	if err != nil {
		t.Fatal(err)
	}
	return values, times
}

// Whatever a stored object is: a field that is mended has the value, no other field another one, and what the
// old value leads back to is the object again, but that all lengths are then encoded in the shortest way.
func FuzzMend(f *testing.F) {
	notes := map[string]string{"olmcahash": sha("old"), "auth.openshift.io/certificate-issuer": "signer"}
	for _, doc := range []string{
		secret(f, notes, map[string]string{"tls.crt": cryptotest.Authority(f, "a", cryptotest.EC(f)).PEM(), "a": "b"}),
		deployment(f, notes), configMap(f, map[string]string{"a": "b"}), "k8s\x00", "no object",
	} {
		f.Add([]byte(doc), uint(0), "another value")
		f.Add([]byte(doc), uint(3), "")
	}
	f.Fuzz(func(t *testing.T, doc []byte, n uint, value string) {
		was, times := stringsOf(t, doc)
		path, ok := nth(was, n)
		if !ok || times[path] > 1 {
			return
		}
		mend := func(doc []byte, value string) []byte {
			after, err := rule.Mend(doc, []rule.Disagreement{{Claim: rule.Claim{Field: path, Value: value}}})
			if err != nil {
				t.Fatal(err)
			}
			return after
		}
		if !bytes.Equal(mend(doc, was[path]), doc) {
			t.Fatal("the value that was there changes the object")
		}
		after := mend(doc, value)
		is, _ := stringsOf(t, after)
		want := maps.Clone(was)
		want[path] = value
		if !maps.Equal(is, want) {
			t.Fatalf("%s became %q: fields are %q, want %q", path, value, is, want)
		}
		canonical := mend(after, was[path])
		if !bytes.Equal(mend(canonical, value), after) {
			t.Fatalf("the same way leads to another end:\n%q\n%q", after, mend(canonical, value))
		}
	})
}

// nth is one of an object's paths.
func nth(values map[string]string, n uint) (string, bool) {
	if len(values) == 0 {
		return "", false
	}
	paths := slices.Sorted(maps.Keys(values))
	return paths[n%uint(len(paths))], true
}
