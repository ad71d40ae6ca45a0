package node

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/reroot-dev/reroot/events"
	"github.com/reroot-dev/reroot/node-executor/step"
)

const (
	// requestLimit bounds one request to the node's API server.
	requestLimit = 15 * time.Second
	// readyPoll is how often an API server that is coming up is asked.
	readyPoll = time.Second
	// pullSecretNamespace is where pull secrets of seed images are, as the lifecycle-agent has it.
	pullSecretNamespace = "openshift-lifecycle-agent"
)

// connect makes a client of the API server that a kubeconfig names. The file is read each time, for a new root has
// another one at the same place.
func connect(kubeconfig string) (*rest.Config, error) {
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return nil, fmt.Errorf("cannot use kubeconfig %s: %w", kubeconfig, err)
	}
	config.Timeout = requestLimit
	return config, nil
}

// isAway says that nobody answered, or only that it cannot be answered now.
func isAway(err error) bool {
	var status apierrors.APIStatus
	if errors.As(err, &status) {
		code := status.Status().Code
		return code == http.StatusTooManyRequests || code >= http.StatusInternalServerError
	}
	var network *net.OpError
	var request *url.Error
	return errors.As(err, &network) || errors.As(err, &request) && request.Timeout() ||
		errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
}

// apiServer implements step.API.
type apiServer struct{ kubeconfig string }

// Await asks until the server says that it is ready.
func (a apiServer) Await(ctx context.Context, tell func(float64, string)) error {
	tick := time.NewTicker(readyPoll)
	defer tick.Stop()
	for {
		err := a.ready(ctx)
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		tell(0, err.Error())
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

func (a apiServer) ready(ctx context.Context) error {
	config, err := connect(a.kubeconfig)
	if err != nil {
		return err
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	_, err = client.Discovery().RESTClient().Get().AbsPath("/readyz").DoRaw(ctx)
	return err
}

// secrets implements step.Secrets: named ones are in the cluster, the node's own is a file.
type secrets struct{ kubeconfig, own string }

func (s secrets) AuthFile(ctx context.Context, ref *events.SecretRef) (string, func() error, error) {
	if ref == nil {
		return s.own, func() error { return nil }, nil
	}
	fail := func(err error) (string, func() error, error) {
		return "", nil, &step.Error{
			Because: events.ReasonPullSecretMissing, Err: fmt.Errorf("cannot read pull secret %s/%s: %w", pullSecretNamespace, ref.Name, err),
			Next: "create it with the key " + corev1.DockerConfigJsonKey + ", then start again",
		}
	}
	config, err := connect(s.kubeconfig)
	if err != nil {
		return "", nil, err
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return "", nil, err
	}
	secret, err := client.CoreV1().Secrets(pullSecretNamespace).Get(ctx, ref.Name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return fail(err)
	}
	if err != nil {
		return "", nil, err
	}
	data := secret.Data[corev1.DockerConfigJsonKey]
	if len(data) == 0 {
		return fail(errors.New("it has no " + corev1.DockerConfigJsonKey))
	}
	return writeSecret(data)
}

// writeSecret keeps a secret in memory only: /run is not on the disk.
func writeSecret(data []byte) (string, func() error, error) {
	f, err := os.CreateTemp("/run", "reroot-auth-*.json") // mode 0600
	if err != nil {
		return "", nil, err
	}
	remove := func() error { return os.Remove(f.Name()) }
	_, err = f.Write(data)
	if err = errors.Join(err, f.Close()); err != nil {
		return "", nil, errors.Join(err, remove())
	}
	return f.Name(), remove, nil
}
