package rule

import (
	"bytes"
	"cmp"
	"runtime"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/reroot-dev/reroot/node-executor/crypto/crawl"
	"github.com/reroot-dev/reroot/node-executor/crypto/site"
)

// State is the content of sites at one time: as they were stored, or as they are to become. A site that is to be renamed
// stands under its old name in both.
type State map[site.Ref][]byte

// Claim is what a field ought to say about something else.
type Claim struct {
	Field  string // path of the field, such as metadata.annotations[olmcahash]
	Source string // what it speaks of, where that could be one of several things
	Value  string
}

// Agreement is one kind of claim. A claim that was true before must be true afterwards; one that was not is left
// alone, because then either the formula is not the one by which the value was made, or an operator is about to act anyway.
type Agreement struct {
	Name string
	// Why says who would act otherwise.
	Why string
	// markers are texts of which one stands in every document that has such a field.
	markers []string
	// claims returns what the fields of a document ought to say in the state, each at most once per source.
	claims func(ref site.Ref, fields fields, in State) []Claim
}

// Agreements are all there are.
var Agreements = []Agreement{Validity, BundleDigests, Dependencies}

// Concerned calls yield with the names of the agreements that a field of a stored object has a part in, by the field's path.
func Concerned(path string, yield func(name string)) {
	annotation := func(of string) bool {
		rest, ok := strings.CutPrefix(path, of)
		return ok && strings.HasPrefix(rest, "[")
	}
	if !slices.ContainsFunc(annotated, annotation) {
		return
	}
	for _, a := range Agreements {
		if slices.ContainsFunc(a.markers, func(m string) bool { return strings.Contains(path, m) }) {
			yield(a.Name)
		}
	}
}

// concerns tells whether a document is an object with such a field. Only objects that are stored as protobuf have them.
func (a Agreement) concerns(doc []byte) bool {
	return crawl.IsObject(doc) && slices.ContainsFunc(a.markers, func(m string) bool { return bytes.Contains(doc, []byte(m)) })
}

// fields are the strings of an object by path.
type fields map[string][]byte

func readFields(doc []byte) (fields, error) {
	f := fields{}
	_, _, err := editFields(doc, func(path string, value []byte) ([]byte, bool) {
		f[path] = value
		return nil, false
	})
	return f, err
}

// entries are the values of a map among the fields by key.
func (f fields) entries(of string) map[string][]byte {
	var found map[string][]byte // nil when empty, as in an API object
	for path, value := range f {
		if key, ok := strings.CutPrefix(path, of+"["); ok {
			if found == nil {
				found = map[string][]byte{}
			}
			found[strings.TrimSuffix(key, "]")] = value
		}
	}
	return found
}

// annotated are where an object, and the pods that it is a template of, have annotations.
var annotated = []string{"metadata.annotations", "spec.template.metadata.annotations"}

// Disagreement is a field that no longer says what it ought to.
type Disagreement struct {
	Site      site.Ref
	Agreement string // its name
	Claim            // as it ought to be
}

// Disagreements returns the fields that spoke the truth before and no longer do, in the order of their sites.
func Disagreements(before, after State) ([]Disagreement, error) {
	var mu sync.Mutex
	var found []Disagreement
	var group errgroup.Group
	group.SetLimit(runtime.GOMAXPROCS(0))
	for ref, doc := range before {
		if !crawl.IsObject(doc) {
			continue
		}
		group.Go(func() error {
			for _, a := range Agreements {
				if !a.concerns(doc) {
					continue
				}
				broken, err := a.broken(ref, before, after)
				if err != nil {
					return err
				}
				mu.Lock()
				found = append(found, broken...)
				mu.Unlock()
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	slices.SortFunc(found, func(a, b Disagreement) int {
		return cmp.Or(cmp.Compare(a.Site.String(), b.Site.String()), cmp.Compare(a.Field, b.Field))
	})
	return found, nil
}

func (a Agreement) broken(ref site.Ref, before, after State) ([]Disagreement, error) {
	old, err := readFields(before[ref])
	if err != nil {
		return nil, err
	}
	renewed, err := readFields(after[ref])
	if err != nil {
		return nil, err
	}
	var broken []Disagreement
	now := a.claims(ref, renewed, after)
	for _, was := range a.claims(ref, old, before) {
		if said, there := old[was.Field]; !there || string(said) != was.Value {
			continue
		}
		for _, is := range now {
			if said := renewed[is.Field]; is.Field == was.Field && is.Source == was.Source && string(said) != is.Value {
				broken = append(broken, Disagreement{ref, a.Name, is})
			}
		}
	}
	return broken, nil
}

// Spoken returns the fields of a document of the state that say what they ought to.
func Spoken(ref site.Ref, in State) ([]string, error) {
	var spoken []string
	for _, a := range Agreements {
		if !a.concerns(in[ref]) {
			continue
		}
		fields, err := readFields(in[ref])
		if err != nil {
			return nil, err
		}
		for _, c := range a.claims(ref, fields, in) {
			if said, there := fields[c.Field]; there && string(said) == c.Value {
				spoken = append(spoken, c.Field)
			}
		}
	}
	return spoken, nil
}

// Mend gives the fields of one document the values that they ought to have.
func Mend(doc []byte, wrong []Disagreement) ([]byte, error) {
	after, _, err := editFields(doc, func(path string, _ []byte) ([]byte, bool) {
		for _, d := range wrong {
			if d.Field == path {
				return []byte(d.Value), true
			}
		}
		return nil, false
	})
	return after, err
}
