// Package trigger derives what Knative has to know of the functions from the table upgrade.Reactions: for each a Trigger,
// that names the events it reacts to, and a Service that scales to zero between them. `go generate` writes both to
// deploy/knative/functions.yaml.
//
// A Trigger's delivery is made for functions that never wait: one that cannot decide yet answers 503, and is called
// again for as long as the longest wait of an upgrade may last. When that is over, the deadline's own event arrives.
package trigger

import (
	"bytes"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	delivery "knative.dev/eventing/pkg/apis/duck/v1"
	eventingv1 "knative.dev/eventing/pkg/apis/eventing/v1"
	duckv1 "knative.dev/pkg/apis/duck/v1"
	servingv1 "knative.dev/serving/pkg/apis/serving/v1"
	"sigs.k8s.io/yaml"

	"github.com/reroot-dev/reroot/events"
	"github.com/reroot-dev/reroot/events/upgrade"
)

//go:generate go run ./gen ../../deploy/knative/functions.yaml

// Names that the manifests share with those beside them in deploy/knative.
const (
	Broker     = "reroot"
	Config     = "reroot"            // ConfigMap: which journal, which cluster
	NATS       = "reroot-nats"       // Secret: credentials for the journal
	Kubeconfig = "reroot-kubeconfig" // Secret: of the cluster that is upgraded
	Image      = "reroot-functions"  // what kustomization.yaml maps to an image
)

const (
	// callLimit bounds one call. Trigger and Service agree on it: a Trigger that gave up first would call a function
	// that still runs.
	callLimit = 5 * time.Minute
	// Redelivery number n comes after n times pause; all of them last longer than any wait.
	redeliveries = 100
	pause        = time.Second
)

// needs is what a function uses besides the journal.
type needs struct {
	api    bool // the API of the cluster that is upgraded
	writes bool // and changes objects there: one call at a time
}

// observer is the function that reacts to the whole history.
const observer = "project"

var needing = map[string]needs{
	"validate": {api: true},
	"backup":   {api: true, writes: true},
	"restore":  {api: true, writes: true},
	observer:   {api: true, writes: true},
}

// Functions are the names of all functions, in the order in which an upgrade meets them. The node is none: it has its
// own connection to the journal.
func Functions() []string {
	var names []string
	for _, r := range upgrade.Reactions {
		if r.Function != "node" && !slices.Contains(names, r.Function) {
			names = append(names, r.Function)
		}
	}
	return append(names, observer)
}

// subscriptions are the types that a function gets.
func subscriptions(function string) []events.Type {
	if function != observer {
		return upgrade.Subscriptions(function)
	}
	var history []events.Type
	for _, d := range events.Catalogue() {
		if d.Kind != events.Ephemeral {
			history = append(history, d.Type)
		}
	}
	return history
}

func meta(name string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Name: name, Labels: map[string]string{"app.kubernetes.io/part-of": "reroot"}}
}

// service is the name of a function's Service.
func service(function string) string { return "fn-" + function }

// Trigger brings a function its events.
func Trigger(function string) *eventingv1.Trigger {
	var types []eventingv1.SubscriptionsAPIFilter
	for _, t := range subscriptions(function) {
		types = append(types, eventingv1.SubscriptionsAPIFilter{Exact: map[string]string{"type": string(t)}})
	}
	return &eventingv1.Trigger{
		TypeMeta:   metav1.TypeMeta{APIVersion: eventingv1.SchemeGroupVersion.String(), Kind: "Trigger"},
		ObjectMeta: meta(function),
		Spec: eventingv1.TriggerSpec{
			Broker:  Broker,
			Filters: []eventingv1.SubscriptionsAPIFilter{{Any: types}},
			Subscriber: duckv1.Destination{Ref: &duckv1.KReference{
				APIVersion: servingv1.SchemeGroupVersion.String(), Kind: "Service", Name: service(function),
			}},
			Delivery: &delivery.DeliverySpec{
				Retry:         new(int32(redeliveries)),
				BackoffPolicy: new(delivery.BackoffPolicyLinear),
				BackoffDelay:  new(period(pause)),
				Timeout:       new(period(callLimit)),
			},
		},
	}
}

// period is a duration as ISO 8601 has it, in seconds. Knative keeps one decimal and silently drops the rest, so that a
// finer duration would become another one, or zero.
func period(d time.Duration) string {
	if d <= 0 || d%(100*time.Millisecond) != 0 {
		panic(fmt.Sprintf("%s is not a multiple of 0.1 s", d))
	}
	return fmt.Sprintf("PT%gS", d.Seconds())
}

// Service runs a function while there is something to do.
func Service(function string) *servingv1.Service {
	need := needing[function]
	s := &servingv1.Service{
		TypeMeta:   metav1.TypeMeta{APIVersion: servingv1.SchemeGroupVersion.String(), Kind: "Service"},
		ObjectMeta: meta(service(function)),
	}
	s.Labels["networking.knative.dev/visibility"] = "cluster-local"
	template := &s.Spec.Template
	template.Labels = map[string]string{"app.kubernetes.io/part-of": "reroot"}
	template.Annotations = map[string]string{"autoscaling.knative.dev/min-scale": "0"}
	if need.writes {
		template.Annotations["autoscaling.knative.dev/max-scale"] = "1"
		template.Spec.ContainerConcurrency = new(int64(1))
	}
	template.Spec.TimeoutSeconds = new(int64(callLimit.Seconds()))
	template.Spec.AutomountServiceAccountToken = new(false)
	container := corev1.Container{
		Name:  "function",
		Image: Image,
		Args:  []string{"--function", function},
		Env: []corev1.EnvVar{
			configured("REROOT_SERVER", "server"), configured("REROOT_CLUSTER", "cluster"),
			{Name: "REROOT_CREDS", Value: "/etc/reroot/nats/creds"},
		},
		SecurityContext: &corev1.SecurityContext{
			AllowPrivilegeEscalation: new(false), ReadOnlyRootFilesystem: new(true), RunAsNonRoot: new(true),
			Capabilities:   &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
			SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
		},
	}
	mount := func(volume, secret string) {
		template.Spec.Volumes = append(template.Spec.Volumes, corev1.Volume{
			Name: volume, VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: secret}},
		})
		container.VolumeMounts = append(container.VolumeMounts, corev1.VolumeMount{Name: volume, MountPath: "/etc/reroot/" + volume, ReadOnly: true})
	}
	mount("nats", NATS)
	if need.api {
		mount("kubeconfig", Kubeconfig)
		container.Env = append(container.Env, corev1.EnvVar{Name: "KUBECONFIG", Value: "/etc/reroot/kubeconfig/kubeconfig"})
	}
	template.Spec.Containers = []corev1.Container{container}
	return s
}

func configured(env, key string) corev1.EnvVar {
	return corev1.EnvVar{Name: env, ValueFrom: &corev1.EnvVarSource{ConfigMapKeyRef: &corev1.ConfigMapKeySelector{
		LocalObjectReference: corev1.LocalObjectReference{Name: Config}, Key: key,
	}}}
}

// Manifest is the Trigger and the Service of every function, as YAML documents.
func Manifest() ([]byte, error) {
	var b bytes.Buffer
	b.WriteString("# Code generated from events/upgrade/transitions.go; DO NOT EDIT.\n")
	for _, function := range Functions() {
		for _, o := range []any{Trigger(function), Service(function)} {
			doc, err := document(o)
			if err != nil {
				return nil, fmt.Errorf("cannot write what Knative gets for %s: %w", function, err)
			}
			b.WriteString("---\n")
			b.Write(doc)
		}
	}
	return b.Bytes(), nil
}

// document is an object as a person would write it: without the empty fields of its type.
func document(o any) ([]byte, error) {
	fields, err := runtime.DefaultUnstructuredConverter.ToUnstructured(o)
	if err != nil {
		return nil, err
	}
	return yaml.Marshal(prune(fields))
}

// prune drops empty objects and nulls, which some types write although nothing is set.
func prune(v any) any {
	object, ok := v.(map[string]any)
	if !ok {
		if list, ok := v.([]any); ok {
			for i := range list {
				list[i] = prune(list[i])
			}
		}
		return v
	}
	for key, field := range object {
		field = prune(field)
		if inner, ok := field.(map[string]any); field == nil || ok && len(inner) == 0 {
			delete(object, key)
		}
	}
	return object
}
