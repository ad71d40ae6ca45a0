package cluster

import (
	"context"
	"fmt"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/reroot-dev/reroot/events/upgrade"
	"github.com/reroot-dev/reroot/functions"
)

// Unsettled says what on the cluster is not as a stage needs it: cluster operators that are not Available, or are
// Progressing or Degraded, machine config pools with machines that are not ready, a node that is not Ready. Empty
// means settled. A kind that the cluster does not serve is not looked at.
func (c *Client) Unsettled(ctx context.Context) ([]string, error) {
	var all []string
	operators, err := c.Resource(ClusterOperators).List(ctx, metav1.ListOptions{})
	if err := served(err); err != nil {
		return nil, fmt.Errorf("cannot list cluster operators: %w", err)
	}
	for _, o := range items(operators) {
		for _, want := range []struct{ kind, status string }{{"Available", "True"}, {"Progressing", "False"}, {"Degraded", "False"}} {
			if status, message := Condition(&o, want.kind); status != want.status {
				all = append(all, fmt.Sprintf("ClusterOperator %s is %s=%s%s", o.GetName(), want.kind, OrUnknown(status), because(message)))
			}
		}
	}
	pools, err := c.Resource(MachineConfigPools).List(ctx, metav1.ListOptions{})
	if err := served(err); err != nil {
		return nil, fmt.Errorf("cannot list machine config pools: %w", err)
	}
	for _, p := range items(pools) {
		count, _, _ := unstructured.NestedInt64(p.Object, "status", "machineCount")
		ready, _, _ := unstructured.NestedInt64(p.Object, "status", "readyMachineCount")
		if count != ready {
			all = append(all, fmt.Sprintf("MachineConfigPool %s has %d of %d machines ready", p.GetName(), ready, count))
		}
	}
	nodes, err := c.Resource(Nodes).List(ctx, metav1.ListOptions{})
	if err := served(err); err != nil {
		return nil, fmt.Errorf("cannot list nodes: %w", err)
	}
	for _, n := range items(nodes) {
		if status, message := Condition(&n, "Ready"); status != "True" {
			all = append(all, fmt.Sprintf("Node %s is Ready=%s%s", n.GetName(), OrUnknown(status), because(message)))
		}
	}
	return all, nil
}

// Settled returns nil when the API is the cluster's own, see [Client.Ours], and nothing on it is [Client.Unsettled]; until
// then a functions.Retry that says what is awaited.
func (c *Client) Settled(ctx context.Context, s upgrade.State) error {
	if err := c.Ours(ctx, s); err != nil {
		return err
	}
	unsettled, err := c.Unsettled(ctx)
	if err != nil {
		return Again(err, "waiting for the cluster's API")
	}
	if len(unsettled) > 0 {
		return &functions.Retry{After: time.Second, Reason: "waiting for the cluster to settle: " + unsettled[0]}
	}
	return nil
}

// Condition is the status and message of an object's condition, or "".
func Condition(o *unstructured.Unstructured, kind string) (status, message string) {
	list, _, _ := unstructured.NestedSlice(o.Object, "status", "conditions")
	for _, item := range list {
		c, ok := item.(map[string]any)
		if ok && c["type"] == kind {
			status, _ = c["status"].(string)
			message, _ = c["message"].(string)
			return status, message
		}
	}
	return "", ""
}

func items(l *unstructured.UnstructuredList) []unstructured.Unstructured {
	if l == nil {
		return nil
	}
	return l.Items
}

// served turns "no such resource" into nothing.
func served(err error) error {
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}

// OrUnknown is a status, or Unknown where nothing has been reported yet.
func OrUnknown(s string) string {
	if s == "" {
		return "Unknown"
	}
	return s
}

func because(message string) string {
	if message == "" {
		return ""
	}
	return " (" + message + ")"
}
