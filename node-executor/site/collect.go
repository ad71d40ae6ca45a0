package site

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/reroot-dev/reroot/events"
)

// requestTimeout bounds one request to the local API.
const requestTimeout = 20 * time.Second

// Options say where to look.
type Options struct {
	Root       string                // of the running system, "/"
	Kubeconfig string                // of an administrator of the local cluster, below Root
	Carry      []events.ConfigMapRef // ConfigMaps that the command wants along
	Files      []string              // further absolute paths (files or patterns of path/filepath.Match) that go along
}

// source is what collectors read from.
type source struct {
	Options
	root *os.Root
	api  dynamic.Interface
	// server is host:port of the API server in the kubeconfig.
	server string
}

// collectors in their order; each is a file of its own.
var collectors = []struct {
	name    string
	collect func(context.Context, *source, *Site) error
}{
	{"cluster", collectCluster},
	{"node", collectNode},
	{"static pods", collectStaticPods},
	{"signers", collectSigners},
	{"cert-manager's certificates", collectIssued},
	{"credentials", collectCredentials},
	{"install-config", collectInstallConfig},
	{"proxy", collectProxy},
	{"OADP", collectOADP},
	{"ConfigMaps", collectConfigMaps},
	{"files", collectFiles},
}

// Collect takes the snapshot. It reports everything that is missing, not only the first.
func Collect(ctx context.Context, o Options) (*Site, error) {
	root, err := os.OpenRoot(o.Root)
	if err != nil {
		return nil, fmt.Errorf("cannot collect the site: %w", err)
	}
	defer root.Close()
	config, err := loadKubeconfig(root, o.Kubeconfig)
	if err != nil {
		return nil, err
	}
	rest, err := clientcmd.NewDefaultClientConfig(*config, nil).ClientConfig()
	if err != nil {
		return nil, fmt.Errorf("cannot use the kubeconfig %s: %w", o.Kubeconfig, err)
	}
	rest.QPS, rest.Timeout = -1, requestTimeout
	api, err := dynamic.NewForConfig(rest)
	if err != nil {
		return nil, fmt.Errorf("cannot make a client for the local API: %w", err)
	}
	src := &source{Options: o, root: root, api: api, server: hostPort(rest.Host)}
	s := &Site{Version: Version}
	var problems []error
	for _, c := range collectors {
		if err := c.collect(ctx, src, s); err != nil {
			problems = append(problems, fmt.Errorf("cannot collect %s: %w", c.name, err))
		}
	}
	if err := errors.Join(problems...); err != nil {
		return nil, err
	}
	return s, nil
}
