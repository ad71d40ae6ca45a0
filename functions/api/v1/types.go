// Package v1 is the ImageBasedUpgrade resource, lca.openshift.io/v1, as the lifecycle-agent defined it: the same
// group, names, spelling and meaning, so that tools and manifests made for it work unchanged. The resource definition
// with its CEL rules is deploy/crds/lca.openshift.io_imagebasedupgrades.yaml.
package v1

import (
	"cmp"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/reroot-dev/reroot/events"
)

// Name is the only name that an ImageBasedUpgrade may have.
const Name = "upgrade"

// Kind and the resource's coordinates.
const Kind = "ImageBasedUpgrade"

// GroupVersion and Resource of the ImageBasedUpgrade.
var (
	GroupVersion = schema.GroupVersion{Group: "lca.openshift.io", Version: "v1"}
	Resource     = GroupVersion.WithResource("imagebasedupgrades")
)

// Annotations that Reroot adds to the resource.
const (
	// AnnotationSequence is the ordinal of the newest event that the resource shows.
	AnnotationSequence = "reroot.dev/sequence"
	// AnnotationUpgrade is the id of the upgrade that the resource shows.
	AnnotationUpgrade = "reroot.dev/upgrade"
	// AnnotationStage is the stage that the history and the spec last agreed on.
	AnnotationStage = "reroot.dev/stage"
	// AnnotationIncarnation says which API the resource was written for: it lives in an etcd that a pivot replaces.
	AnnotationIncarnation = "reroot.dev/incarnation"
)

// Annotations by which a user has tried again what failed, where the spec cannot ask for it: its stage stays the same.
// Each is for one try; it is removed when the try has begun.
const (
	// AnnotationManualCleanup is for cleaning up; the lifecycle-agent's spelling.
	AnnotationManualCleanup = "lca.openshift.io/manual-cleanup-done"
	// AnnotationRollbackAgain is for the way back, from which the lifecycle-agent has none.
	AnnotationRollbackAgain = "reroot.dev/rollback-again"
)

// ImageBasedUpgrade drives and shows the upgrade of this cluster.
type ImageBasedUpgrade struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`
	Spec              Spec   `json:"spec,omitempty"`
	Status            Status `json:"status,omitempty"`
}

// Asks is the stage that the spec asks for, and whether that is another one than spec and history last agreed on: then
// a user asks, for what the history moves by itself is stamped in the same write. Before anything was agreed on, Idle is
// where every resource begins.
func (u *ImageBasedUpgrade) Asks() (events.Stage, bool) {
	asked := cmp.Or(u.Spec.Stage, events.StageIdle)
	return asked, asked != cmp.Or(events.Stage(u.Annotations[AnnotationStage]), events.StageIdle)
}

// Spec is what the user asks for.
type Spec struct {
	Stage                 events.Stage           `json:"stage,omitempty"`
	SeedImageRef          SeedImageRef           `json:"seedImageRef,omitempty"`
	OADPContent           []events.ConfigMapRef  `json:"oadpContent,omitempty"`
	ExtraManifests        []events.ConfigMapRef  `json:"extraManifests,omitempty"`
	AutoRollbackOnFailure *AutoRollbackOnFailure `json:"autoRollbackOnFailure,omitempty"`
}

// SeedImageRef names the seed image; every field may be absent while the stage is Idle.
type SeedImageRef struct {
	Version       string            `json:"version,omitempty"`
	Image         string            `json:"image,omitempty"`
	PullSecretRef *events.SecretRef `json:"pullSecretRef,omitempty"`
}

// AutoRollbackOnFailure bounds the time until the new root must be confirmed.
type AutoRollbackOnFailure struct {
	InitMonitorTimeoutSeconds int `json:"initMonitorTimeoutSeconds,omitempty"` // 0 means 1800
}

// Upgrade is the spec as upgrade.requested carries it.
func (s Spec) Upgrade() events.UpgradeSpec {
	u := events.UpgradeSpec{
		SeedImageRef: events.SeedImageRef{Version: s.SeedImageRef.Version, Image: s.SeedImageRef.Image, PullSecretRef: s.SeedImageRef.PullSecretRef},
		OADPContent:  s.OADPContent, ExtraManifests: s.ExtraManifests,
	}
	if s.AutoRollbackOnFailure != nil {
		u.InitMonitorTimeoutSeconds = s.AutoRollbackOnFailure.InitMonitorTimeoutSeconds
	}
	return u
}

// SpecOf is the inverse of [Spec.Upgrade], at a stage.
func SpecOf(u events.UpgradeSpec, stage events.Stage) Spec {
	s := Spec{
		Stage:        stage,
		SeedImageRef: SeedImageRef{Version: u.SeedImageRef.Version, Image: u.SeedImageRef.Image, PullSecretRef: u.SeedImageRef.PullSecretRef},
		OADPContent:  u.OADPContent, ExtraManifests: u.ExtraManifests,
	}
	if u.InitMonitorTimeoutSeconds != 0 {
		s.AutoRollbackOnFailure = &AutoRollbackOnFailure{InitMonitorTimeoutSeconds: u.InitMonitorTimeoutSeconds}
	}
	return s
}

// Status is what the history says.
type Status struct {
	ObservedGeneration             int64              `json:"observedGeneration,omitempty"`
	StartedAt                      *metav1.Time       `json:"startedAt,omitempty"`
	CompletedAt                    *metav1.Time       `json:"completedAt,omitempty"`
	Conditions                     []metav1.Condition `json:"conditions,omitempty"`
	ValidNextStages                []events.Stage     `json:"validNextStages,omitempty"`
	RollbackAvailabilityExpiration *metav1.Time       `json:"rollbackAvailabilityExpiration,omitempty"`
	History                        []History          `json:"history,omitempty"`
}

// History is when a stage began and was completed.
type History struct {
	Stage          events.Stage `json:"stage,omitempty"`
	StartTime      *metav1.Time `json:"startTime,omitempty"`
	CompletionTime *metav1.Time `json:"completionTime,omitempty"` // only when it ended well
	Phases         []Phase      `json:"phases,omitempty"`
}

// Phase is when a phase of a stage began and was completed.
type Phase struct {
	Phase          string       `json:"phase,omitempty"`
	StartTime      *metav1.Time `json:"startTime,omitempty"`
	CompletionTime *metav1.Time `json:"completionTime,omitempty"`
}

// Condition types. Their order in the status is part of the contract: the last one is what `kubectl get` shows.
const (
	Idle               = "Idle"
	PrepInProgress     = "PrepInProgress"
	PrepCompleted      = "PrepCompleted"
	UpgradeInProgress  = "UpgradeInProgress"
	UpgradeCompleted   = "UpgradeCompleted"
	RollbackInProgress = "RollbackInProgress"
	RollbackCompleted  = "RollbackCompleted"
)

// Condition reasons.
const (
	ReasonIdle              = "Idle"
	ReasonInProgress        = "InProgress"
	ReasonCompleted         = "Completed"
	ReasonFailed            = "Failed"
	ReasonAborting          = "Aborting"
	ReasonAbortFailed       = "AbortFailed"
	ReasonFinalizing        = "Finalizing"
	ReasonFinalizeFailed    = "FinalizeFailed"
	ReasonInvalidTransition = "InvalidTransition"
)
