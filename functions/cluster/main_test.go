package cluster_test

import (
	"context"
	"errors"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/wait"

	v1 "github.com/reroot-dev/reroot/functions/api/v1"
	"github.com/reroot-dev/reroot/functions/cluster"
	"github.com/reroot-dev/reroot/functions/cluster/clustertest"
)

var world *clustertest.World

func TestMain(m *testing.M) { clustertest.Main(m, &world, clustertest.Start) }

// eventually waits until check finds nothing wrong.
func eventually(t *testing.T, what string, check func(context.Context) error) {
	t.Helper()
	last := errors.New("not checked")
	err := wait.PollUntilContextTimeout(t.Context(), 50*time.Millisecond, 20*time.Second, true, func(ctx context.Context) (bool, error) {
		last = check(ctx)
		return last == nil, nil
	})
	if err != nil {
		t.Fatalf("waiting until %s: %v", what, last)
	}
}

func upgradeResource(ctx context.Context) (*v1.ImageBasedUpgrade, error) {
	u, err := world.Client.Resource(v1.Resource).Get(ctx, v1.Name, metav1.GetOptions{})
	if err != nil {
		return nil, err
	}
	return cluster.Object[v1.ImageBasedUpgrade](u)
}

// user changes the ImageBasedUpgrade as a user would, and returns what the API server says to it.
func user(t *testing.T, change func(*v1.ImageBasedUpgrade)) error {
	t.Helper()
	for {
		o, err := upgradeResource(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		change(o)
		u, err := cluster.Unstructured(o)
		if err != nil {
			t.Fatal(err)
		}
		_, err = world.Client.Resource(v1.Resource).Update(t.Context(), u, metav1.UpdateOptions{})
		if !isConflict(err) {
			return err
		}
	}
}

func create(t *testing.T, object map[string]any) {
	t.Helper()
	u := &unstructured.Unstructured{Object: object}
	api, err := world.Client.For(u)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := api.Create(t.Context(), u, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := api.Delete(context.Background(), u.GetName(), metav1.DeleteOptions{}); err != nil {
			t.Error(err)
		}
	})
}
