package site

import (
	"context"
	"fmt"
	"maps"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// kubeletLabels are set by the kubelet or by operators on every node; they do not go along.
var kubeletLabels = []string{"beta.kubernetes.io/", "kubernetes.io/", "node-role.kubernetes.io/", "node.openshift.io/os_id"}

// collectNode learns what the cluster's one node is called, its addresses, and the labels that users gave it.
func collectNode(ctx context.Context, src *source, s *Site) error {
	list, err := src.api.Resource(core("nodes")).List(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	if len(list.Items) != 1 {
		return fmt.Errorf("the cluster has %d nodes; only single-node clusters can be upgraded this way", len(list.Items))
	}
	node := &list.Items[0]
	s.Names.Hostname = node.GetName()
	addresses, _, err := unstructured.NestedSlice(node.Object, "status", "addresses")
	if err != nil {
		return err
	}
	for _, a := range addresses {
		if m, ok := a.(map[string]any); ok && m["type"] == "InternalIP" {
			ip, _ := m["address"].(string)
			s.Names.NodeIPs = append(s.Names.NodeIPs, ip)
		}
	}
	s.NodeLabels = maps.Clone(node.GetLabels())
	maps.DeleteFunc(s.NodeLabels, func(label, _ string) bool {
		for _, prefix := range kubeletLabels {
			if strings.HasPrefix(label, prefix) {
				return true
			}
		}
		return false
	})
	return nil
}
