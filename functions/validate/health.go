package validate

import (
	"context"
	"fmt"
	"strings"

	"github.com/reroot-dev/reroot/events"
)

// health: an upgrade starts from a cluster that is well, so that afterwards nobody wonders since when it is not. It is
// waited for until the deadline: operators settle by themselves.
func (s *subject) health(ctx context.Context) (finding, error) {
	const expected = "operators Available, pools and node ready"
	unsettled, err := s.Unsettled(ctx)
	if err != nil {
		return finding{}, err
	}
	if len(unsettled) == 0 {
		return holds("they are", expected)
	}
	why := strings.Join(unsettled, "; ")
	f, _ := fails(events.ReasonClusterUnhealthy, why, expected, fmt.Sprintf("cannot upgrade an unhealthy cluster: %s", why),
		"bring the cluster to rest (oc get clusteroperators,machineconfigpools,nodes), set stage Idle, then ask again")
	f.patience = untilDeadline
	return f, nil
}
