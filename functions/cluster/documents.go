package cluster

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/yaml"

	"github.com/reroot-dev/reroot/events"
)

// AnnotationApplyWave orders Backups, Restores and manifests: waves are done in increasing order, one after the other.
const AnnotationApplyWave = "lca.openshift.io/apply-wave"

// AnnotationApplyType says what to do with a manifest whose object exists: replace it (the default) or, with
// [ApplyMerge], merge into it.
const (
	AnnotationApplyType = "lca.openshift.io/apply-type"
	ApplyMerge          = "merge"
)

// maxDocuments bounds how many objects the ConfigMaps of one list may hold.
const maxDocuments = 4096

// Document is one object that a user wrote into a ConfigMap.
type Document struct {
	*unstructured.Unstructured
	Wave int    // math.MaxInt32 when the annotation is absent
	From string // namespace/name[key] of the ConfigMap
}

// ContentError says everything that is wrong with the content of ConfigMaps.
type ContentError struct{ Problems []error }

// Error is all problems in one line.
func (e *ContentError) Error() string {
	var all []string
	for _, p := range e.Problems {
		all = append(all, p.Error())
	}
	return strings.Join(all, "; ")
}

// Documents reads every object in the ConfigMaps, in the order of waves and then of names. Problems of content are a
// [ContentError] with all of them; other errors are the API's.
func (c *Client) Documents(ctx context.Context, refs []events.ConfigMapRef) ([]Document, error) {
	var docs []Document
	var problems []error
	for _, ref := range unique(refs) {
		u, err := c.Resource(ConfigMaps).Namespace(ref.Namespace).Get(ctx, ref.Name, metav1.GetOptions{})
		switch {
		case apierrors.IsNotFound(err):
			problems = append(problems, fmt.Errorf("ConfigMap %s/%s does not exist", ref.Namespace, ref.Name))
			continue
		case err != nil:
			return nil, fmt.Errorf("cannot read ConfigMap %s/%s: %w", ref.Namespace, ref.Name, err)
		}
		data, _, err := unstructured.NestedStringMap(u.Object, "data")
		if err != nil {
			problems = append(problems, fmt.Errorf("ConfigMap %s/%s: %w", ref.Namespace, ref.Name, err))
			continue
		}
		for _, key := range slices.Sorted(maps.Keys(data)) {
			more, errs := decode(fmt.Sprintf("%s/%s[%s]", ref.Namespace, ref.Name, key), data[key])
			docs, problems = append(docs, more...), append(problems, errs...)
		}
	}
	if len(docs) > maxDocuments {
		problems = append(problems, fmt.Errorf("%d objects, more than %d", len(docs), maxDocuments))
	}
	if len(problems) > 0 {
		return nil, &ContentError{problems}
	}
	slices.SortStableFunc(docs, func(a, b Document) int {
		if a.Wave != b.Wave {
			return cmp.Compare(a.Wave, b.Wave)
		}
		return strings.Compare(a.GetName(), b.GetName())
	})
	return docs, nil
}

func decode(from, text string) (docs []Document, problems []error) {
	dec := yaml.NewYAMLOrJSONDecoder(strings.NewReader(text), 4096)
	for n := 1; ; n++ {
		var u unstructured.Unstructured
		err := dec.Decode(&u.Object)
		switch {
		case errors.Is(err, io.EOF):
			return docs, problems
		case err != nil:
			return docs, append(problems, fmt.Errorf("%s, document %d: %w", from, n, err))
		case len(u.Object) == 0:
			continue
		}
		d := Document{Unstructured: &u, From: from}
		if err := d.check(); err != nil {
			problems = append(problems, fmt.Errorf("%s, document %d: %w", from, n, err))
			continue
		}
		docs = append(docs, d)
	}
}

func (d *Document) check() error {
	if d.GetAPIVersion() == "" || d.GetKind() == "" {
		return errors.New("apiVersion or kind is missing")
	}
	if d.GetName() == "" {
		return fmt.Errorf("%s resource name is empty", d.GetKind())
	}
	d.Wave = math.MaxInt32
	if text := d.GetAnnotations()[AnnotationApplyWave]; text != "" {
		n, err := strconv.ParseInt(text, 10, 32)
		if err != nil {
			return fmt.Errorf("%s[%s]: annotation %s is %q, not a number", d.GetKind(), d.GetName(), AnnotationApplyWave, text)
		}
		d.Wave = int(n)
	}
	return nil
}

// Waves groups documents of equal wave; they must be in order.
func Waves(docs []Document) [][]Document {
	var waves [][]Document
	for i, d := range docs {
		if i == 0 || d.Wave != docs[i-1].Wave {
			waves = append(waves, nil)
		}
		waves[len(waves)-1] = append(waves[len(waves)-1], d)
	}
	return waves
}

func unique(refs []events.ConfigMapRef) []events.ConfigMapRef {
	var out []events.ConfigMapRef
	for _, r := range refs {
		if !slices.Contains(out, r) {
			out = append(out, r)
		}
	}
	return out
}

// AsContent finds a [ContentError] in err.
func AsContent(err error) (*ContentError, bool) {
	var content *ContentError
	ok := errors.As(err, &content)
	return content, ok
}
