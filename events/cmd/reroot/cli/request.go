package cli

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	strict "sigs.k8s.io/json"
	"sigs.k8s.io/yaml"

	"github.com/reroot-dev/reroot/events"
	v1 "github.com/reroot-dev/reroot/functions/api/v1"
)

// maxFile bounds what a file that describes an upgrade may hold, in bytes.
const maxFile = 1 << 20

// request is the event that start is to send.
func (a *app) request(ctx context.Context, o *startOptions, id string) (event.Event, error) {
	if o.file == "" {
		p, err := o.payload()
		if err != nil {
			return event.Event{}, err
		}
		return a.requestOf(ctx, o, id, p)
	}
	doc, err := a.read(o.file)
	if err != nil {
		return event.Event{}, err
	}
	var kind struct {
		SpecVersion string `json:"specversion"`
		Kind        string `json:"kind"`
	}
	if err := json.Unmarshal(doc, &kind); err != nil {
		return event.Event{}, wrong("read "+o.file, "write an object with fields; see reroot explain event upgrade.requested", "%v", err)
	}
	switch {
	case kind.SpecVersion != "":
		return a.wholeEvent(o, id, doc)
	case kind.Kind != "":
		p, err := ofResource(o.file, doc)
		if err != nil {
			return event.Event{}, err
		}
		return a.requestOf(ctx, o, id, p)
	}
	var p events.UpgradeRequested
	if err := decode(o.file, doc, &p); err != nil {
		return event.Event{}, err
	}
	return a.requestOf(ctx, o, id, p)
}

// payload is what the flags say.
func (o *startOptions) payload() (events.UpgradeRequested, error) {
	p := events.UpgradeRequested{Spec: events.UpgradeSpec{SeedImageRef: events.SeedImageRef{Version: o.version, Image: o.seed}}}
	if o.pullSecret != "" {
		p.Spec.SeedImageRef.PullSecretRef = &events.SecretRef{Name: o.pullSecret}
	}
	if o.budget%time.Second != 0 || o.budget < 0 {
		return p, wrong("start an upgrade", "give --init-monitor-timeout in whole seconds", "%s is not a number of seconds", o.budget)
	}
	p.Spec.InitMonitorTimeoutSeconds = int(o.budget / time.Second)
	var err, also error
	p.Spec.OADPContent, err = configMaps("--oadp", o.oadp)
	p.Spec.ExtraManifests, also = configMaps("--extra-manifests", o.manifests)
	return p, cmp.Or(err, also)
}

func configMaps(flag string, given []string) (refs []events.ConfigMapRef, err error) {
	for _, g := range given {
		namespace, name, both := strings.Cut(g, "/")
		if !both {
			return nil, wrong("start an upgrade", "write namespace/name", "%s is %q", flag, g)
		}
		refs = append(refs, events.ConfigMapRef{Namespace: namespace, Name: name})
	}
	return refs, nil
}

// requestOf is the event with the payload. Its id is a function of all that it asks for, which makes a repeated request
// the same request.
func (a *app) requestOf(ctx context.Context, o *startOptions, id string, p events.UpgradeRequested) (event.Event, error) {
	if id == "" {
		return event.Event{}, wrong("start an upgrade", "reroot start UPGRADE …", "the upgrade has no id")
	}
	cluster, err := a.chosen(ctx)
	if err != nil {
		return event.Event{}, err
	}
	p.Through = cmp.Or(o.through, p.Through, events.StageUpgrade)
	data, err := json.Marshal(p)
	if err != nil {
		return event.Event{}, fmt.Errorf("cannot encode the request: %w", err)
	}
	unique := events.DerivedID(cluster+"/"+id, a.writer(), events.TypeUpgradeRequested, 0)
	e := events.New(events.TypeUpgradeRequested, events.DerivedID(unique, string(data), events.TypeUpgradeRequested, 0), cluster, a.writer(), id, p)
	e.SetTime(a.Now().UTC())
	return e, nil
}

// wholeEvent is an event that a file holds in full.
func (a *app) wholeEvent(o *startOptions, id string, doc []byte) (event.Event, error) {
	e, problem := events.Parse(doc)
	cannot := "start what " + o.file + " holds"
	switch {
	case problem != nil:
		return e, invalid(cannot, problem)
	case events.TypeOf(e) != events.TypeUpgradeRequested:
		return e, wrong(cannot, "for a stage: reroot stage UPGRADE STAGE", "it is a %s", events.TypeOf(e).Short())
	case id != "" && id != e.Subject():
		return e, wrong(cannot, "leave the argument out", "it is upgrade %s, not %s", e.Subject(), id)
	case a.cluster != "" && a.cluster != events.Cluster(e):
		return e, wrong(cannot, "leave --cluster out", "it is for cluster %s, not %s", events.Cluster(e), a.cluster)
	case o.through != "":
		return e, wrong(cannot, "leave --through out", "an event is sent as it is")
	}
	return e, nil
}

// ofResource is the request that an ImageBasedUpgrade stands for.
func ofResource(file string, doc []byte) (events.UpgradeRequested, error) {
	var r v1.ImageBasedUpgrade
	if err := decode(file, doc, &r); err != nil {
		return events.UpgradeRequested{}, err
	}
	if r.Kind != v1.Kind || r.APIVersion != v1.GroupVersion.String() {
		return events.UpgradeRequested{}, wrong("start what "+file+" holds", "give an "+v1.Kind+" of "+v1.GroupVersion.String(), "it is a %s of %s", r.Kind, r.APIVersion)
	}
	p := events.UpgradeRequested{Spec: r.Spec.Upgrade()}
	switch r.Spec.Stage {
	case events.StagePrep, events.StageUpgrade:
		p.Through = r.Spec.Stage
	case events.StageIdle, "":
	default:
		return p, wrong("start what "+file+" holds", "for a stage of a running upgrade: reroot stage UPGRADE STAGE", "its stage is %s", r.Spec.Stage)
	}
	return p, nil
}

// read is a file's YAML or JSON, as JSON.
func (a *app) read(file string) ([]byte, error) {
	in := a.In
	if file != "-" {
		f, err := os.Open(file)
		if err != nil {
			return nil, wrong("read "+file, "name a file that exists and may be read", "%v", errors.Unwrap(err))
		}
		defer f.Close()
		in = f
	}
	b, err := io.ReadAll(io.LimitReader(in, maxFile+1))
	switch {
	case err != nil:
		return nil, wrong("read "+file, "name a file that exists and may be read", "%v", err)
	case len(b) > maxFile:
		return nil, wrong("read "+file, "give a file that describes one upgrade", "it has more than %d bytes", maxFile)
	case documents(b) > 1:
		return nil, wrong("read "+file, "give a file that describes one upgrade", "it holds %d YAML documents", documents(b))
	}
	doc, err := yaml.YAMLToJSONStrict(b)
	if err != nil {
		return nil, wrong("read "+file, "mend the file; nothing was sent", "it is neither YAML nor JSON: %v", err)
	}
	return doc, nil
}

// documents counts YAML documents that are not empty: the decoder would silently take the first.
func documents(b []byte) (n int) {
	for part := range bytes.SplitSeq(append([]byte("\n"), b...), []byte("\n---")) {
		if len(bytes.TrimSpace(part)) > 0 {
			n++
		}
	}
	return n
}

// decode reads JSON and reports all fields that are unknown or stand twice.
func decode(file string, doc []byte, into any) error {
	unknown, err := strict.UnmarshalStrict(doc, into)
	if err = errors.Join(append(unknown, err)...); err != nil {
		return wrong("read "+file, "mend the file; nothing was sent", "%s", strings.ReplaceAll(err.Error(), "\n", "; "))
	}
	return nil
}
