package cluster

import (
	"context"
	"fmt"

	"github.com/reroot-dev/reroot/events"
)

// forbidden are the kinds that extra manifests may not hold, because they would have an operator change or reboot the
// node while the upgrade runs. The list is the lifecycle-agent's.
var forbidden = map[string]bool{
	"machineconfiguration.openshift.io/v1 MachineConfig":  true,
	"operators.coreos.com/v1alpha1 ClusterServiceVersion": true,
	"operators.coreos.com/v1alpha1 InstallPlan":           true,
	"operators.coreos.com/v1alpha1 Subscription":          true,
}

// Manifests are the [Client.Documents] of ConfigMaps with extra manifests. Kinds that may not be applied are a
// [ContentError] too.
func (c *Client) Manifests(ctx context.Context, refs []events.ConfigMapRef) ([]Document, error) {
	docs, err := c.Documents(ctx, refs)
	if err != nil {
		return nil, err
	}
	var problems []error
	for _, d := range docs {
		if forbidden[d.GetAPIVersion()+" "+d.GetKind()] {
			problems = append(problems, fmt.Errorf("%s: %s[%s] in extra manifests is not allowed", d.From, d.GetKind(), d.GetName()))
		}
	}
	if len(problems) > 0 {
		return nil, &ContentError{problems}
	}
	return docs, nil
}
