package validate

import (
	"context"
	"fmt"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/reroot-dev/reroot/events"
	"github.com/reroot-dev/reroot/functions/cluster"
)

// The lifecycle-agent as its operator bundle installs it.
const (
	lifecycleAgent           = "lifecycle-agent"
	lifecycleAgentDeployment = "lifecycle-agent-controller-manager"
)

// foreign: two controllers of one ImageBasedUpgrade would undo each other's work.
func (s *subject) foreign(ctx context.Context) (finding, error) {
	const expected = "the lifecycle-agent operator is not installed"
	found := func(what string) (finding, error) {
		return fails(events.ReasonForeignController, what, expected,
			fmt.Sprintf("cannot upgrade beside the lifecycle-agent: %s", what),
			"uninstall the lifecycle-agent (its Subscription, ClusterServiceVersion and Deployment), set stage Idle, then ask again")
	}
	versions, err := s.Resource(cluster.ClusterServiceVersions).List(ctx, metav1.ListOptions{})
	if err != nil && !apierrors.IsNotFound(err) {
		return finding{}, fmt.Errorf("cannot list ClusterServiceVersions: %w", err)
	}
	if err == nil {
		for _, v := range versions.Items {
			if strings.HasPrefix(v.GetName(), lifecycleAgent) {
				return found(fmt.Sprintf("ClusterServiceVersion %s/%s is there", v.GetNamespace(), v.GetName()))
			}
		}
	}
	deployment, err := s.Resource(cluster.Deployments).Namespace(cluster.LCANamespace).Get(ctx, lifecycleAgentDeployment, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		return holds("it is not", expected)
	case err != nil:
		return finding{}, fmt.Errorf("cannot look for the lifecycle-agent: %w", err)
	}
	if replicas, set, _ := unstructured.NestedInt64(deployment.Object, "spec", "replicas"); set && replicas == 0 {
		return holds("its Deployment has no replicas", expected)
	}
	return found(fmt.Sprintf("Deployment %s/%s is there", cluster.LCANamespace, lifecycleAgentDeployment))
}
